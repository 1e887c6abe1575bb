"""Bytes of recorded files: plain, or unpacked from gzip or from a zip of one file.

The first bytes decide, not the name. Files that are no text are refused with the way to convert
them.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, BinaryIO

_GZIP, _ZIP, _EMPTY_ZIP = b"\x1f\x8b", b"PK\x03\x04", b"PK\x05\x06"
_PLAIN_BYTES = 1 << 16
_PACKED_BYTES = 1 << 12  # at a time; they unpack to at most 4 MB
_WITH_GZIP_HEADER = 31  # wbits of zlib
_LOAD_ARROW = "INSTALL nanoarrow FROM community; LOAD nanoarrow; "
# First bytes -> name of the format, and SQL before its conversion.
_TABLES = {b"PAR1": ("Parquet", ""), b"ARROW1": ("Arrow", _LOAD_ARROW), b"FEA1": ("Arrow", _LOAD_ARROW)}
_SHOWN_FILES = 3


class Damage(Exception):
    """The archive is damaged; `cut`: bytes of the text are lost."""

    def __init__(self, text: str, *, cut: bool) -> None:
        super().__init__(text)
        self.cut = cut


class NotText(Exception):
    """The file is no text, and no archive of one text. The message follows `… is`."""


def unpacked(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The content in blocks; `name` is the file's, for messages.

    Raises `NotText` before the first block, and `Damage` behind the last good byte.
    """
    packed = file.read(_PACKED_BYTES)
    for beginning, (kind, before) in _TABLES.items():
        if packed.startswith(beginning):
            quoted = name.replace("'", "''")
            to = PurePath(quoted).with_suffix(".csv")
            raise NotText(f"{kind}, which is not read; convert it: duckdb -c \"{before}COPY (FROM '{quoted}') TO '{to}'\"")
    if packed.startswith((_ZIP, _EMPTY_ZIP)):
        yield from _from_zip(file)
    elif packed.startswith(_GZIP):
        yield from _from_gzip(packed, file)
    else:
        while packed:
            yield packed
            packed = file.read(_PLAIN_BYTES)


def _from_zip(file: BinaryIO) -> Iterator[bytes]:
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_only_member(archive)) as content:
            while block := content.read(_PLAIN_BYTES):
                yield block
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise Damage(str(error) or "the archive ends early", cut=True) from error
    except (RuntimeError, NotImplementedError) as error:  # a password, or a compression that Python does not have
        raise NotText(f"a zip that cannot be unpacked: {error}") from error


def _only_member(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    """The file in the archive; what macOS adds does not count."""
    members = [each for each in archive.infolist() if not each.is_dir() and not each.filename.startswith("__MACOSX/")]
    if len(members) == 1:
        return members[0]
    names = [each.filename for each in members]
    if "[Content_Types].xml" in names:
        raise NotText("an Excel file, which is not read: save it as CSV")
    shown = ", ".join(names[:_SHOWN_FILES]) + (", …" if len(names) > _SHOWN_FILES else "")
    raise NotText(f"a zip with {len(names)} files{f' ({shown})' if names else ''}: unpack it and name the one that is wanted")


def _from_gzip(packed: bytes, file: BinaryIO) -> Iterator[bytes]:
    while packed:
        unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
        while packed and not unpacker.eof:
            before = unpacker.copy()
            try:
                yield bytes(unpacker.decompress(packed))
            except zlib.error as error:
                yield _good_bytes(before, packed)
                raise Damage(str(error), cut=True) from error
            packed = unpacker.unused_data or file.read(_PACKED_BYTES)
        if not unpacker.eof:
            raise Damage("the archive ends early", cut=True)
        packed = _without_padding(packed, file)
        if packed and not packed.startswith(_GZIP):
            raise Damage("bytes follow the archive that are not part of it", cut=False)


def _good_bytes(unpacker: Any, packed: bytes) -> bytes:
    """The bytes up to the damage; zlib discards the output of a call that fails."""
    good = bytearray()
    try:
        for position in range(len(packed)):
            good += unpacker.decompress(packed[position : position + 1])
    except zlib.error:
        pass
    return bytes(good)


def _without_padding(packed: bytes, file: BinaryIO) -> bytes:
    """The bytes after the zeros that may follow an archive; at least two if there are more."""
    packed = packed.lstrip(b"\0")
    while len(packed) < len(_GZIP) and (more := file.read(_PACKED_BYTES)):
        packed = (packed + more).lstrip(b"\0")
    return packed
