"""Requests of clients about their own alerts: set, list, delete."""

from __future__ import annotations

from collections.abc import Callable, Container
from decimal import Decimal
from itertools import count
from typing import Any

from api.errors import ErrorCode, Refusal, unknown_instrument
from api.hub.alerts.rules import Rule, RuleIndex, Series, TooManyRules
from api.hub.schemas.requests import ALL

Current = Callable[[Series], Decimal | None]


class AlertRequests:
    """Answers requests about alerts.

    A rule belongs to one client and is deleted when that client disconnects. `current` returns the
    present value of a series. `prefix` makes the ids of this hub unique among all hubs.
    """

    def __init__(self, index: RuleIndex, instruments: Container[str], current: Current, prefix: str) -> None:
        self._index = index
        self._instruments = instruments
        self._current = current
        self._prefix = prefix
        self._numbers = count(1)

    def set(self, client: str, asked: dict[str, Any], owner: str = "") -> dict[str, Any]:
        """Add one rule. Raises `Refusal` if the instrument is unknown or a limit is reached.

        All clients of one `owner` share a limit; without an owner it does not apply.
        """
        if asked["instrument"] not in self._instruments:
            raise unknown_instrument(asked["instrument"])
        number = next(self._numbers)
        series = (asked["instrument"], asked["metric"])
        value, threshold = asked["value"]
        rule = Rule(f"{self._prefix}-{number}", number, client, series, asked["op"], value, threshold, asked["once"], owner)
        try:
            self._index.add(rule, self._current(series))
        except TooManyRules as error:
            raise Refusal(ErrorCode.TOO_MANY_REQUESTS, str(error), {"limit": error.limit}) from None
        return {"alert": _body(rule), "count": len(self._index.held(client))}

    def list(self, client: str) -> dict[str, Any]:
        """Return the rules of the client in the order in which they were set."""
        rules = self._index.held(client)
        return {"alerts": [_body(rule) for rule in rules], "count": len(rules)}

    def delete(self, client: str, rule_id: str) -> dict[str, Any]:
        """Delete one rule, or `"all"`. Raises `Refusal` if the client has no rule with that id."""
        if rule_id == ALL:
            deleted = [rule.id for rule in self._index.clear(client)]
        elif self._index.delete(client, rule_id):
            deleted = [rule_id]
        else:
            raise Refusal(ErrorCode.INVALID_PAYLOAD, f"You have no alert {rule_id!r}.", {"id": ["Unknown alert."]})
        return {"deleted": deleted, "count": len(self._index.held(client))}

    def retain(self, client: str, permitted: Callable[[str], bool]) -> None:
        """Delete the rules of a client whose instruments it may not see any more."""
        for rule in self._index.held(client):
            if not permitted(rule.series[0]):
                self._index.delete(client, rule.id)

    def forget(self, client: str) -> None:
        """Delete all rules of a client that has disconnected."""
        self._index.clear(client)

    def count(self) -> int:
        """Return the number of rules of all clients."""
        return len(self._index)


def _body(rule: Rule) -> dict[str, Any]:
    instrument, metric = rule.series
    return {"id": rule.id, "instrument": instrument, "metric": metric, "op": rule.op, "value": rule.value, "once": rule.once}
