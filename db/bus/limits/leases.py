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

    Members of `add` get a lease if fewer than `limit` are held, those of `keep` get one anyway.
    """

    caller: str
    limit: int
    keep: Sequence[str] = ()
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class LeaseAnswer:
    """The members that found no place, and all leases: member -> seconds until it expires."""

    refused: tuple[str, ...]
    leases: dict[str, float]


class Leases(Connection):
    """The part of the bus for leases. Every method raises `BusError`."""

    def change_leases(self, requests: Sequence[LeaseRequest], life_seconds: float) -> list[LeaseAnswer]:
        """Make the changes of each caller, in one round trip."""
        calls = []
        for each in requests:
            asked = {"life": int(life_seconds * 1000), "limit": each.limit, "keep": each.keep, "add": each.add, "remove": each.remove}
            calls.append(([topics.connections_key(each.caller)], [orjson.dumps(asked)]))
        return [_answer(found) for found in self._run_scripts(_LEASES, calls)]


def _answer(found: Any) -> LeaseAnswer:
    now, refused, pairs = found
    leases = {member.decode(): (int(float(expiry)) - now) / 1000 for member, expiry in zip(pairs[::2], pairs[1::2], strict=True)}
    return LeaseAnswer(tuple(member.decode() for member in refused), leases)
