"""Leases of connections: the hubs share the number of connections that a caller may have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from db import topics
from db.bus.connection import Connection, lua

_LEASES = lua("leases")


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """The changes of one caller's leases. The names of members are unique among all hubs.

    Those of one hub begin with `holder`. Members of `add` get a lease if fewer than `limit` are held, those of `keep` get one anyway.
    """

    caller: str
    limit: int
    holder: str
    keep: Sequence[str] = ()
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """The members that found no place, and the seconds until each lease of other hubs expires."""

    refused: tuple[str, ...]
    others: tuple[float, ...]


class Leases(Connection):
    """The part of the bus for leases. Every method raises `BusError`."""

    def change_leases(self, requests: Sequence[LeaseRequest], life_seconds: float) -> list[LeaseAnswer]:
        """Make the changes of each caller, in one round trip."""
        calls = []
        for each in requests:
            asked = {
                "life": int(life_seconds * 1000),
                "limit": each.limit,
                "holder": each.holder,
                "keep": each.keep,
                "add": each.add,
                "remove": each.remove,
            }
            calls.append(([topics.connections_key(each.caller)], [orjson.dumps(asked)]))
        return [_answer(found) for found in self._run_scripts(_LEASES, calls)]


def _answer(found: Any) -> LeaseAnswer:
    refused, others = found
    return LeaseAnswer(tuple(member.decode() for member in refused), tuple(milliseconds / 1000 for milliseconds in others))
