"""Gzip in blocks with limits, and lines of a block stream. Pure: no more than one block is held."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from db.scenarios.lines import BadLine

MAX_PACKED_BYTES = 64 * 2**20
MAX_UNPACKED_BYTES = 512 * 2**20
# A snapshot of 5,000 levels a side has about 0.3 MB.
MAX_LINE_BYTES = 4 * 2**20
_BLOCK_BYTES = 2**20  # unpacked at a time
_WITH_GZIP_HEADER = 31  # wbits of zlib


class TooLarge(ValueError):
    """The file, packed or unpacked, exceeds its limit."""


class NotGzip(ValueError):
    """The bytes are no complete gzip file."""


def unpacked(chunks: Iterable[bytes], *, max_packed: int = MAX_PACKED_BYTES, max_unpacked: int = MAX_UNPACKED_BYTES) -> Iterator[bytes]:
    """The content of a gzip file in blocks of at most 1 MiB; the file comes in chunks of any size.

    Raises `TooLarge` as soon as a limit is exceeded, and `NotGzip` if the bytes are no gzip file or
    end early. A file of several members is one content.
    """
    packed = total = 0
    unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
    started = False
    for chunk in chunks:
        packed += len(chunk)
        if packed > max_packed:
            raise TooLarge(f"the file is larger than {max_packed} bytes")
        rest = chunk
        while rest:
            if unpacker.eof:
                if not (rest := rest.lstrip(b"\0")):
                    break
                unpacker = zlib.decompressobj(_WITH_GZIP_HEADER)
            started = True
            block, rest = _next_block(unpacker, rest)
            total += len(block)
            if total > max_unpacked:
                raise TooLarge(f"the file is larger than {max_unpacked} bytes after unpacking")
            if block:
                yield block
    if not started or not unpacker.eof:
        raise NotGzip("the file is empty" if not started else "the gzip file ends early")


def _next_block(unpacker: zlib._Decompress, packed: bytes) -> tuple[bytes, bytes]:
    """The next block, and the packed bytes that it does not need."""
    try:
        block = unpacker.decompress(packed, _BLOCK_BYTES)
    except zlib.error as error:
        raise NotGzip(f"the file is no gzip file, or damaged: {error}") from error
    return block, unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail


def lines_of(blocks: Iterable[bytes], *, max_line: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """The lines of a stream of blocks, without their ends.

    Raises `BadLine` for one that is too long.
    """
    rest = b""
    number = 0
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            number += 1
            yield _checked(number, line, max_line)
        _checked(number + 1, rest, max_line)
    if rest:
        yield rest


def _checked(number: int, line: bytes, max_line: int) -> bytes:
    if len(line) > max_line:
        raise BadLine(number, f"is longer than {max_line} bytes")
    return line
