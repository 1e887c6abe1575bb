"""The checksum of the best levels of an order book. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import chain

CHECKSUM_LEVELS = 10  # a side; fewer if the depth of the message is smaller


def checksum_of(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> int:
    """Unsigned CRC32 of `bid price:bid quantity:ask price:ask quantity` in turns, joined by `:`.

    A shorter side is skipped.
    """
    return zlib.crc32(":".join(_texts(bids, asks)).encode("ascii"))


def checksums_of(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]], counts: Sequence[int]) -> list[int]:
    """`checksum_of` the best levels for each number of levels a side, in ascending order.

    A text that continues the one before continues its checksum.
    """
    if min(len(bids), len(asks)) < counts[-1]:
        return [checksum_of(bids[:count], asks[:count]) for count in counts]
    texts, found, checksum, done = _texts(bids[: counts[-1]], asks[: counts[-1]]), [], 0, 0
    for count in counts:
        end = 4 * count  # four texts for a bid and an ask
        checksum = zlib.crc32((":" * (done > 0) + ":".join(texts[done:end])).encode("ascii"), checksum)
        found.append(checksum)
        done = end
    return found


def _texts(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> list[str]:
    both = min(len(bids), len(asks))
    levels = chain(chain.from_iterable(zip(bids, asks, strict=False)), bids[both:], asks[both:])
    return list(chain.from_iterable(levels))
