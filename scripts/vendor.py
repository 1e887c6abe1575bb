"""Write clients/web/vendor again from the npm packages, and vendor.json with their checksums.

    .venv/bin/python scripts/vendor.py                          the listed versions
    .venv/bin/python scripts/vendor.py lightweight-charts@5.2.1 another version of a package

vendor.json is the list: file -> package, version, path in the tarball, integrity (npm's SHA-512 of
the tarball), sha256 of the file, licence and its file. NOTICE is kept by hand: no package has one.
Needs npm on the PATH. npm chooses the registry.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

VENDOR = Path(__file__).resolve().parent.parent / "clients" / "web" / "vendor"
LICENCE_PATH = "package/LICENSE"
NPM_SECONDS = 120

Entry = dict[str, str]


class VendorError(Exception):
    """A package that cannot be copied; the message names the package and the action."""


def main(arguments: Sequence[str]) -> int:
    """Write the files; return the exit code."""
    try:
        listed = with_versions(read_list(VENDOR), arguments)
        write(VENDOR, listed)
    except VendorError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def read_list(folder: Path) -> dict[str, Entry]:
    """Return the entries of vendor.json by file name."""
    listed: dict[str, Entry] = json.loads((folder / "vendor.json").read_text(encoding="utf-8"))
    return listed


def with_versions(listed: Mapping[str, Entry], wanted: Sequence[str]) -> dict[str, Entry]:
    """Return the list with other versions ("NAME@VERSION"); their integrity is not known yet."""
    versions = {name: version for name, _, version in (item.partition("@") for item in wanted)}
    known = {entry["package"] for entry in listed.values()}
    for name, version in versions.items():
        if name not in known or not version:
            raise VendorError(f"{name}: write NAME@VERSION with one of {', '.join(sorted(known))}")
    return {file: _moved(entry, versions.get(entry["package"])) for file, entry in listed.items()}


def _moved(entry: Entry, version: str | None) -> Entry:
    if version is None or version == entry["version"]:
        return entry
    return {**entry, "version": version, "integrity": ""}


def write(folder: Path, listed: Mapping[str, Entry]) -> None:
    """Copy each file and its licence out of its package into the folder, and write vendor.json."""
    tarballs: dict[str, bytes] = {}  # "NAME@VERSION" -> tarball
    entries: dict[str, Entry] = {}
    for file, entry in listed.items():
        package = f"{entry['package']}@{entry['version']}"
        tarball = tarballs.get(package) or download(package)
        tarballs[package] = tarball
        integrity = integrity_of(tarball)
        if entry["integrity"] not in ("", integrity):
            raise VendorError(f"{package}: the registry's tarball is {integrity}, vendor.json has {entry['integrity']}")
        content = member(tarball, entry["path"])
        (folder / file).write_bytes(content)
        (folder / entry["licence_file"]).write_bytes(member(tarball, LICENCE_PATH))
        entries[file] = {**entry, "integrity": integrity, "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "vendor.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def download(package: str) -> bytes:
    """Return the tarball of "NAME@VERSION". Raises VendorError if npm does not deliver it."""
    npm = shutil.which("npm")
    if npm is None:
        raise VendorError("npm is not installed: install Node.js 18 or newer")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", package, "--silent", "--ignore-scripts"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NPM_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise VendorError(f"{package}: npm did not answer within {NPM_SECONDS} s") from error
        if done.returncode != 0:
            raise VendorError(f"{package}: npm pack failed: {done.stderr.strip()[-500:]}")
        return (Path(folder) / done.stdout.split()[-1]).read_bytes()


def integrity_of(tarball: bytes) -> str:
    """Return the checksum as npm writes it: "sha512-" and base64."""
    return "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()


def member(tarball: bytes, path: str) -> bytes:
    """Return a file of the tarball. Raises VendorError if there is none of this name."""
    with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
        try:
            found = archive.extractfile(path)
        except KeyError:
            found = None
        if found is None:
            raise VendorError(f"{path} is not in the package")
        return found.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
