"""Files of other projects in clients/web/vendor: unchanged, with their licences, served by REST."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.app import create_app
from config import settings as settings_module
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from scripts import vendor

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "clients/web/vendor"
LISTED: dict[str, dict[str, str]] = json.loads((VENDOR / "vendor.json").read_text())
LICENCES = {"Apache-2.0": "Apache License", "MIT": "MIT License"}  # identifier -> words of its title
MODULES = ROOT / "clients/web/node_modules"


@pytest.fixture(scope="module")
def rest() -> FlaskClient:
    """REST without servers."""
    chosen = settings_module.load({"SOURCES": ""}, dotenv=None)
    store = Store("postgresql://127.0.0.1:1/none")
    return create_app(chosen, Bus("redis://127.0.0.1:1/0", utc_now), store, utc_now, "1").test_client()


def test_each_file_is_listed_with_its_checksum_and_its_licence() -> None:
    licences = {about["licence_file"] for about in LISTED.values()}
    assert {file.name for file in VENDOR.iterdir()} == {*LISTED, *licences, "vendor.json", "NOTICE"}
    for name, about in LISTED.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == about["sha256"], name
        title = "".join((VENDOR / about["licence_file"]).read_text().splitlines(keepends=True)[:2])
        assert LICENCES[about["licence"]] in title, name


def test_the_versions_are_those_of_the_locks() -> None:
    for folder in ("clients/web", "clients/js"):
        file = ROOT / folder / "package-lock.json"
        if not file.exists():
            continue
        lock = json.loads(file.read_text())["packages"]
        found = [about for about in LISTED.values() if f"node_modules/{about['package']}" in lock]
        assert found, folder
        for about in found:
            locked = lock[f"node_modules/{about['package']}"]
            assert (about["version"], about["integrity"]) == (locked["version"], locked["integrity"]), folder


@pytest.mark.parametrize("name", sorted(LISTED))
def test_the_file_equals_that_of_its_package(name: str) -> None:
    about = LISTED[name]
    package = MODULES / about["package"]
    if not package.is_dir():
        pytest.skip("clients/web/node_modules has no packages: run scripts/node.sh")
    assert (VENDOR / name).read_bytes() == (package / about["path"].removeprefix("package/")).read_bytes()
    assert (VENDOR / about["licence_file"]).read_bytes() == (package / "LICENSE").read_bytes()


def test_rest_serves_files_licences_and_notice(rest: FlaskClient) -> None:
    for file in VENDOR.iterdir():
        answer = rest.get(f"/ui/vendor/{file.name}")
        assert (answer.status_code, answer.data) == (200, file.read_bytes()), file.name
        script = file.suffix in (".js", ".mjs")
        assert answer.content_type.startswith("text/javascript") == script, file.name


def test_notice_names_the_author_of_the_charts() -> None:
    text = (VENDOR / "NOTICE").read_text()
    # https://github.com/tradingview/lightweight-charts/blob/v5.2.0/NOTICE, with its Cyrillic letter
    theirs = (
        "TradingView Lightweight Charts™\nCopyright (\N{CYRILLIC SMALL LETTER ES}) 2025 TradingView, Inc. https://www.tradingview.com/\n"
    )
    assert theirs in text
    for about in LISTED.values():
        holder = {"lightweight-charts": "TradingView", "socket.io-client": "Guillermo Rauch", "uplot": "Leon Sorokin"}
        assert holder[about["package"]] in text


def test_a_changed_tarball_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vendor, "download", lambda package: _tarball({"package/a.js": b"1", "package/LICENSE": b"MIT"}))
    entry = {"package": "a", "version": "1.0.0", "path": "package/a.js", "integrity": "sha512-other", "licence_file": "LICENSE.a"}
    with pytest.raises(vendor.VendorError, match=r"a@1\.0\.0: the registry's tarball is sha512-"):
        vendor.write(tmp_path, {"a.js": entry})
    vendor.write(tmp_path, {"a.js": {**entry, "integrity": ""}})
    assert (tmp_path / "a.js").read_bytes() == b"1"
    assert vendor.read_list(tmp_path)["a.js"]["sha256"] == hashlib.sha256(b"1").hexdigest()


def test_a_missing_file_of_a_package_is_named() -> None:
    with pytest.raises(vendor.VendorError, match=r"package/b\.js is not in the package"):
        vendor.member(_tarball({"package/a.js": b"1"}), "package/b.js")


def test_another_version_forgets_the_old_integrity() -> None:
    moved = vendor.with_versions(LISTED, ["uplot@1.6.33"])
    assert {file for file, entry in moved.items() if not entry["integrity"]} == {"uPlot.iife.min.js", "uPlot.min.css"}
    with pytest.raises(vendor.VendorError, match="write NAME@VERSION"):
        vendor.with_versions(LISTED, ["jquery@3.0.0"])


def _tarball(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return file.getvalue()
