"""The folder of scenario files, one scenario each: `NAME-data.json` or `NAME.json`; recordings."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from db.scenarios.checks import as_file, name_problem
from db.scenarios.fields import ScenarioError
from db.scenarios.lines import BadLine
from db.scenarios.model import SHIPPED, Scenario, is_recording_name
from db.scenarios.recording import BadRecording, Recording, read_recording
from db.scenarios.unpacking import NotGzip, TooLarge, lines_of, unpacked

MAX_FILE_BYTES = 1_000_000
_CHUNK_BYTES = 2**16
_SHIPPED_RECORDINGS = Path(__file__).parents[2] / "data" / "recordings"
_GZIP = b"\x1f\x8b"
_HEAD_LINES = 1_000  # that decide whether a file is a recording of depth
_is_depth = re.compile(rb"\s*\d{19} \s*(?:\{\"stream\"\s*:\s*\"[^\"@]*@depth|\{[^\[]*\"lastUpdateId\")").match
_SUFFIXES = ("-data.json", ".json")


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """One usable file: its name, its JSON as it stands there, and the scenario in it."""

    file: str
    content: Mapping[str, Any]
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class ScenarioFolder:
    """The scenarios of a folder, those of the product first, then the others by name.

    `problems` maps the name of each file that cannot be used to its fault.
    """

    scenarios: Mapping[str, ScenarioFile]  # name of the scenario -> its file
    problems: Mapping[str, ScenarioError]

    @property
    def files(self) -> dict[str, str]:
        """The name of each scenario's file."""
        return {name: each.file for name, each in self.scenarios.items()}


def read_folder(folder: Path) -> ScenarioFolder:
    """Read each JSON file of the folder. A file that cannot be used does not affect the others.

    Raises `ScenarioError` if the folder cannot be read.
    """
    found: dict[str, ScenarioFile] = {}
    problems: dict[str, ScenarioError] = {}
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix == ".json" and not each.name.startswith("."))
    except OSError as error:
        raise ScenarioError(str(folder), {"": f"cannot be read: {error.strerror}"}) from error
    for path in files:
        try:
            name = _name_of(path)
            if name in found:
                raise ScenarioError(path.name, {"": f"has the scenario {name}, as {found[name].file} has: remove one of them"})
            found[name] = _read(path, name)
        except ScenarioError as error:
            problems[path.name] = error
    return ScenarioFolder({name: found[name] for name in sorted(found, key=_rank)}, problems)


def _rank(name: str) -> tuple[int, str]:
    return (SHIPPED.index(name) if name in SHIPPED else len(SHIPPED), name)


def _name_of(path: Path) -> str:
    name = next(path.name.removesuffix(suffix) for suffix in _SUFFIXES if path.name.endswith(suffix))
    if problem := name_problem(name):
        raise ScenarioError(path.name, {"": f"gives the scenario the name {name!r}, which {problem}"})
    return name


def _read(path: Path, name: str) -> ScenarioFile:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ScenarioError(path.name, {"": f"is larger than {MAX_FILE_BYTES} bytes"})
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ScenarioError(path.name, {"": f"cannot be read: {error.strerror}"}) from error
    except orjson.JSONDecodeError as error:
        raise ScenarioError(path.name, {"": f"is not JSON: {error}"}) from error
    scenario = as_file(content, path.name, name)
    return ScenarioFile(path.name, content, scenario)


def recording_folders(data_dir: Path) -> tuple[Path, Path]:
    """The folders of recordings: those of the product, then uploads below `HUB_DATA_DIR`."""
    return _SHIPPED_RECORDINGS, data_dir / "recordings"


def find_recording(name: str, folders: Sequence[Path]) -> Path:
    """The file of a recording in the first folder that has it. Raises `ScenarioError`."""
    if is_recording_name(name):
        for folder in folders:
            if (path := folder / name).is_file():
                return path
    raise ScenarioError("", {"recording": f"names {name}, which is in none of {', '.join(map(str, folders))}"})


def has_books(path: Path) -> bool:
    """Return True if one of the first lines is a depth message or a snapshot of Binance.

    The process `books` plays such a file, and the jobs play all others. False for a file that is
    missing or unreadable.
    """
    try:
        return any(map(_is_depth, islice(recorded_lines(path), _HEAD_LINES)))
    except (OSError, BadLine, NotGzip, TooLarge):
        return False


def load_recording(path: Path, instruments: Collection[str] | None = None) -> Recording:
    """Read a recording, gzip or plain. Raises `ScenarioError` that names the file and the line."""
    try:
        return read_recording(path.name, recorded_lines(path), instruments)
    except OSError as error:
        raise ScenarioError(path.name, {"": f"cannot be read: {error.strerror}"}) from error
    except (BadLine, BadRecording, NotGzip, TooLarge) as error:
        raise ScenarioError(path.name, {"": str(error)}) from error


def recorded_lines(path: Path) -> Iterator[bytes]:
    """The lines of a recording, gzip or plain, read as they are needed.

    Raises `OSError`, `BadLine` for a line that is too long, `NotGzip` and `TooLarge`.
    """
    with path.open("rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
        file.seek(0)
        chunks: Iterator[bytes] = iter(lambda: file.read(_CHUNK_BYTES), b"")
        yield from lines_of(unpacked(chunks) if is_gzip else chunks)
