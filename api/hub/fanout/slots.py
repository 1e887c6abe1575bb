"""The rates of `max_rate`, and the moments at which each instrument is sent. Pure.

Clients with few rooms at a rate share one tick of it: joined sends cost less. A client with many
rooms receives each instrument in a slot of the period, so that no tick carries them all.
"""

from __future__ import annotations

from functools import lru_cache
from math import floor
from zlib import crc32

from db.topics import symbol_of

RATES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)  # Hz; few rates need few clocks
JOINT_ROOMS = 64  # of a client at one rate: at most so many share one tick
_SLOT_SECONDS = 0.025


def granted(rate: float | None) -> float | None:
    """Return the highest of `RATES` that does not exceed `rate`, or the lowest of all."""
    return None if rate is None else max(each for each in RATES if each <= rate or each == RATES[0])


def slots_of(rate: float) -> int:
    """Return the number of slots in one period of a rate."""
    return max(1, floor(1 / rate / _SLOT_SECONDS))


def slot_of(room: str, rate: float) -> int:
    """Return the slot of a room: that of its instrument, in every process."""
    return _checksum(room) % slots_of(rate)


@lru_cache(maxsize=65_536)
def _checksum(room: str) -> int:
    # Not hash(): it differs between processes.
    return crc32(symbol_of(room).encode())
