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
    both = min(len(bids), len(asks))
    levels = chain(chain.from_iterable(zip(bids, asks, strict=False)), bids[both:], asks[both:])
    return zlib.crc32(":".join(chain.from_iterable(levels)).encode("ascii"))
