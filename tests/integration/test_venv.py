"""`make venv`: packages are installed only if their hash is in the requirements files."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import ROOT

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
