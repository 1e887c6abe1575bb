"""The time of a lookup of a bad key: one that begins as a known key does, and a random one."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from statistics import fmean, variance

from api.access.credentials import Credential
from api.access.table import AccessTable
from api.errors import Unauthorized
from config.access.keys import digest_of, new_key
from db.api_keys import ApiKey
from tests.bench.bars import Bar, Measured, Part
from tests.bench.fanout import Ground

_LOOKUPS = 100_000
_KEYS = 1_000
_KEPT = 0.95  # of the times: the slowest ones are interrupts of the machine
_CREATED = datetime(2026, 1, 1, tzinfo=UTC)

WELCH = Bar("Welch's |t|, known prefix against random key", 4.5)


def _run(_: Ground, quick: bool) -> Iterator[Measured]:
    known = [new_key() for _ in range(_KEYS)]
    rows = [ApiKey(key_id, "bench", digest_of(text), ("read",), ("*",), (), None, None, None, _CREATED, "bench") for key_id, text in known]
    table = AccessTable().updated(rows, ())
    prefixed: list[int] = []
    random_ones: list[int] = []
    choose = random.Random(20260302)
    for number in range(_LOOKUPS // (10 if quick else 1)):
        text = known[number % _KEYS][1]
        # All characters but the last one are those of a known key.
        near, far = text[:-1] + ("A" if text[-1] != "A" else "E"), new_key()[1]
        pair = [(near, prefixed), (far, random_ones)]
        choose.shuffle(pair)
        for guess, times in pair:
            times.append(_nanoseconds(table, guess))
    yield Measured("lookup", fmean(_without_slowest(prefixed)), text="known prefix, ns")
    yield Measured("lookup", fmean(_without_slowest(random_ones)), text="random key, ns")
    yield Measured("lookup", abs(_welch(_without_slowest(prefixed), _without_slowest(random_ones))), WELCH)


def _nanoseconds(table: AccessTable, text: str) -> int:
    """Return the time of the digest and the lookup of a bad key."""
    began = time.perf_counter_ns()
    credential = Credential(text, text[3:11], digest_of(text))
    try:
        table.find(credential, _CREATED)
    except Unauthorized:
        return time.perf_counter_ns() - began
    raise AssertionError("a guessed key was accepted")


def _without_slowest(times: Sequence[int]) -> list[int]:
    return sorted(times)[: int(len(times) * _KEPT)]


def _welch(one: Sequence[int], other: Sequence[int]) -> float:
    """Return Welch's t: the difference of the means ÷ its standard error."""
    return (fmean(one) - fmean(other)) / math.sqrt(variance(one) / len(one) + variance(other) / len(other))


PART = Part("Time of a lookup", _run)
