"""`make venv`: packages are installed only if their hash is in the requirements files."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.util import find_spec
from pathlib import Path

import orjson
import pytest

from config.process.fanout_loop import EXTENSION, MISSING
from config.settings import Settings
from tests.support.answers import get
from tests.support.clients import PythonClient
from tests.support.polling import until
from tests.support.processes import ROOT, Web

FILES = ("requirements.txt", "requirements-dev.txt")


@pytest.mark.parametrize("name", FILES)
def test_every_pinned_package_has_a_hash_and_no_index_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    packages = re.findall(r"^[\w.-]+==", text, re.MULTILINE)
    assert len(packages) > 20
    assert len(re.findall(r"^[\w.-]+==\S+( ; .+)? \\\n +--hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(packages)
    assert re.findall(r"https?://|--index|--find-links|--extra|--trusted", text) == []


def wheel(folder: Path) -> str:
    """Make a wheel without content; return its SHA-256."""
    info = "grain-1.0.dist-info"
    files = {
        "grain.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: grain\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode() for name, text in files.items()}
    record = "".join(f"{name},sha256={digest},{len(files[name])}\n" for name, digest in digests.items()) + f"{info}/RECORD,,\n"
    file = folder / "grain-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(name, text)
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.slow
def test_package_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/venv.sh", tmp_path / "scripts")
    shutil.copytree(ROOT / "native", tmp_path / "native")
    digest = wheel(tmp_path)
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}

    def install(line: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "requirements.txt").write_text(f"{line}\n")
        command = [str(tmp_path / "scripts/venv.sh"), "requirements.txt"]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    changed = ("0" if digest[0] != "0" else "1") + digest[1:]
    assert "DO NOT MATCH THE HASHES" in (refused := install(f"grain==1.0 --hash=sha256:{changed}")).stderr
    assert refused.returncode != 0
    (tmp_path / ".venv/.installing").unlink()  # so that the environment is not made again
    done = install(f"grain==1.0 --hash=sha256:{digest}")
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob(".venv/lib/python3*/site-packages/grain.py"))
    # This environment has no setuptools, so that pip fails.
    assert "no C compiler: the hub uses the Python loop" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("flock") is None, reason="needs flock of util-linux")
def test_second_call_waits_for_the_first_one(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/venv.sh", tmp_path / "scripts")
    shutil.copytree(ROOT / "native", tmp_path / "native")
    (tmp_path / "requirements.txt").write_text(f"grain==1.0 --hash=sha256:{wheel(tmp_path)}\n")
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull}

    def install() -> subprocess.Popen[str]:
        command = [str(tmp_path / "scripts/venv.sh"), "requirements.txt"]
        return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)

    with install() as first:
        until((tmp_path / ".venv/.installing").exists, 60, "the installation")
        with install() as second:
            told = [each.communicate(timeout=120)[1] for each in (first, second)]
    assert [each.returncode for each in (first, second)] == [0, 0], told
    assert ["installing into" in text for text in told] == [True, False]
    assert "waiting" in told[1]
    assert list(tmp_path.glob(".venv/lib/python3*/site-packages/grain.py"))


def linked(folder: Path, *patterns: str) -> Path:
    """Return the folder with links to the packages of this environment that match, without ours."""
    folder.mkdir()
    for pattern in patterns:
        for found in Path(sysconfig.get_paths()["purelib"]).glob(pattern):
            if not found.name.startswith("tickwire_sendmany"):
                (folder / found.name).symlink_to(found)
    return folder


@pytest.mark.slow
def test_hub_serves_without_a_compiler(tmp_path: Path, shared_settings: Settings) -> None:
    checkout = tmp_path / "checkout"
    for name in ("Makefile", "scripts/venv.sh"):
        (checkout / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    shutil.copytree(ROOT / "native", checkout / "native")
    (checkout / "requirements.txt").write_text(f"grain==1.0 --hash=sha256:{wheel(tmp_path)}\n")  # the others are linked
    tools = linked(tmp_path / "tools", "setuptools*", "_distutils_hack", "pkg_resources")
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, "PYTHONPATH": str(tools)}

    def make(compiler: str) -> str:
        command = ["make", "--no-print-directory", "venv", f"PYTHON={sys.executable}"]
        done = subprocess.run(
            command, cwd=checkout, env={**os.environ, **local, "CC": compiler}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    assert "no C compiler: the hub uses the Python loop" in make("/nonexistent")
    assert make("/nonexistent") == "", "nothing has changed"
    packages = linked(tmp_path / "packages", "*")
    hub = Web("hub", shared_settings, tmp_path / "hub.log", PYTHONPATH=str(packages))
    hub.argv[0] = str(checkout / ".venv/bin/python")
    with hub, PythonClient(hub.url) as client:
        assert client.stats()["fanout_loop"] == "python"
        assert orjson.loads(get(hub.url, "/hub/health")[1])["fanout_loop"] == "python"
    lines = [line for line in map(orjson.loads, hub.output().splitlines()) if line["message"] == "fan-out loop"]
    assert [line["loop"] for line in lines] == ["python"]
    strict = Web("hub", shared_settings, tmp_path / "strict.log", PYTHONPATH=str(packages), FANOUT_LOOP="c")
    strict.argv[0] = hub.argv[0]
    with strict.popen_only():
        assert strict.popen is not None
        assert strict.popen.wait(60) == 2
    assert MISSING in strict.output()
    with (checkout / "native/sendmany/setup.py").open("a") as file:
        file.write("\n")
    built = "no C compiler" not in make("cc")  # a change of the extension installs it
    assert built is bool(find_spec(EXTENSION))
    assert bool(list(checkout.glob(".venv/lib/python3*/site-packages/tickwire_sendmany.*.so"))) is built
