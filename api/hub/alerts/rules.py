"""Rules of clients, sorted by threshold: a new value visits only the rules that fire.

The naive version compares every price with every rule of its instrument. A rule changes its result
only when the value passes its threshold. So the rules that may fire have thresholds between the
last value and the new one. Two searches find them, for any number of rules.

* `>` fires at a value above the threshold if the value is the first since the rule was set, or if
  the value before was not above. `<` fires likewise.
* `crosses` fires at a value that reaches or passes the threshold: `before < threshold <= value` or
  `before > threshold >= value`. If a value was known when the rule was set, it precedes the first
  value of the rule.

Values are compared as decimals. Pure: no clock and no message; a client is a name.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import TypeVar

from api.hub.schemas.requests import ABOVE, BELOW

MAX_RULES_PER_CLIENT = 1_000
MAX_RULES_PER_OWNER = 10_000  # a key, a subject of tokens, or an address without a credential
MAX_RULES_PER_HUB = 200_000
_FEW = 8  # up to this number, removing rules one by one is cheaper than building the lists again

Series = tuple[str, str]  # instrument, metric

_Item = TypeVar("_Item")
_number = attrgetter("number")


class TooManyRules(Exception):
    """No rule can be added, because `limit` is reached."""

    def __init__(self, message: str, limit: int) -> None:
        self.limit = limit
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert of a client.

    `number` rises from rule to rule; `value` is the threshold as the client gave it.
    """

    id: str
    number: int
    client: str
    series: Series
    op: str
    value: str | float
    threshold: Decimal
    once: bool
    owner: str = ""  # shares a limit with all its clients; empty: no such limit


class _Ladder:
    """Rules of one series and one operator, sorted by threshold and number."""

    __slots__ = ("_rules", "_thresholds")

    def __init__(self) -> None:
        self._thresholds: list[Decimal] = []  # of the rules, in the same order
        self._rules: list[Rule] = []

    def __len__(self) -> int:
        return len(self._rules)

    def add(self, rule: Rule) -> None:
        at = self._place(rule)
        self._thresholds.insert(at, rule.threshold)
        self._rules.insert(at, rule)

    def remove(self, rules: Sequence[Rule]) -> None:
        """Remove these rules, all of which MUST be present."""
        places = sorted(map(self._place, rules))
        if len(places) <= _FEW:
            for at in reversed(places):
                del self._thresholds[at], self._rules[at]
        else:
            self._thresholds, self._rules = _without(self._thresholds, places), _without(self._rules, places)

    def from_low_to_under(self, low: Decimal, high: Decimal) -> list[Rule]:
        """Return the rules with low <= threshold < high."""
        return self._slice(bisect_left(self._thresholds, low), high, below=True)

    def from_over_to_high(self, low: Decimal, high: Decimal) -> list[Rule]:
        """Return the rules with low < threshold <= high."""
        return self._slice(bisect_right(self._thresholds, low), high, below=False)

    def _slice(self, start: int, high: Decimal, *, below: bool) -> list[Rule]:
        thresholds = self._thresholds
        # Usually no threshold lies between two prices: one comparison saves the second search.
        if start == len(thresholds) or high < thresholds[start]:
            return []
        return self._rules[start : (bisect_left if below else bisect_right)(thresholds, high, start)]

    def _place(self, rule: Rule) -> int:
        """Return the index of the rule, or the index at which to insert it."""
        low = bisect_left(self._thresholds, rule.threshold)
        high = bisect_right(self._thresholds, rule.threshold, low)
        return bisect_left(self._rules, rule.number, low, high, key=_number)


class _Watched:
    """The rules of one series, and the value that they were last compared with."""

    __slots__ = ("_above", "_below", "_crosses", "_fresh", "last")

    def __init__(self, last: Decimal | None) -> None:
        self.last = last  # None: no value yet
        self._above, self._below, self._crosses = _Ladder(), _Ladder(), _Ladder()
        # number -> rule that its first value may fire although that value passes no threshold
        self._fresh: dict[int, Rule] = {}

    def __bool__(self) -> bool:
        return bool(self._fresh or self._above or self._below or self._crosses)

    def add(self, rule: Rule) -> None:
        if self.last is None or _holds(rule, self.last):
            self._fresh[rule.number] = rule
        else:
            self._ladder(rule.op).add(rule)

    def remove(self, rules: Iterable[Rule]) -> None:
        by_operator: dict[str, list[Rule]] = {}
        for rule in rules:
            if self._fresh.pop(rule.number, None) is None:
                by_operator.setdefault(rule.op, []).append(rule)
        for op, each in by_operator.items():
            self._ladder(op).remove(each)

    def observe(self, value: Decimal) -> list[Rule]:
        """Return the rules that the new value fires, by number."""
        last, self.last = self.last, value
        fired: list[Rule] = []
        if last is not None and last < value:
            fired = self._above.from_low_to_under(last, value) + self._crosses.from_over_to_high(last, value)
        elif last is not None and value < last:
            fired = self._below.from_over_to_high(value, last) + self._crosses.from_low_to_under(value, last)
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            for rule in fresh.values():
                self._ladder(rule.op).add(rule)
            fired += [rule for rule in fresh.values() if _holds(rule, value)]
        fired.sort(key=_number)
        return fired

    def _ladder(self, op: str) -> _Ladder:
        return self._above if op == ABOVE else self._below if op == BELOW else self._crosses


class RuleIndex:
    """The rules of all clients. The cost of `observe` grows with the logarithm of their number."""

    def __init__(
        self,
        max_per_client: int = MAX_RULES_PER_CLIENT,
        max_in_hub: int = MAX_RULES_PER_HUB,
        max_per_owner: int = MAX_RULES_PER_OWNER,
    ) -> None:
        self._max_per_client, self._max_in_hub, self._max_per_owner = max_per_client, max_in_hub, max_per_owner
        self._watched: dict[Series, _Watched] = {}  # only series that have rules
        self._clients: dict[str, dict[str, Rule]] = {}  # client -> id -> rule
        self._owners: Counter[str] = Counter()  # owner -> rules of all its clients
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rule: Rule, current: Decimal | None) -> None:
        """Add a rule. Raises `TooManyRules`.

        `current` is the present value of its series, None if there is none.
        """
        if len(self._clients.get(rule.client, ())) >= self._max_per_client:
            raise TooManyRules(f"A client holds at most {self._max_per_client} alerts: delete some first.", self._max_per_client)
        if rule.owner and self._owners[rule.owner] >= self._max_per_owner:
            message = f"All clients of one key or address hold at most {self._max_per_owner} alerts: delete some first."
            raise TooManyRules(message, self._max_per_owner)
        if self._count >= self._max_in_hub:
            raise TooManyRules(f"The hub holds its {self._max_in_hub} alerts of all clients; try again later.", self._max_in_hub)
        watched = self._watched.get(rule.series)
        if watched is None:
            watched = self._watched[rule.series] = _Watched(current)
        watched.add(rule)
        self._clients.setdefault(rule.client, {})[rule.id] = rule
        self._note(rule, 1)

    @property
    def series(self) -> Container[Series]:
        """The series that have rules, now and after each change."""
        return self._watched

    def held(self, client: str) -> list[Rule]:
        """Return the rules of the client in the order in which they were set."""
        return list(self._clients.get(client, {}).values())

    def delete(self, client: str, rule_id: str) -> bool:
        """Delete one rule of the client; return False if it has no rule with that id."""
        rule = self._clients.get(client, {}).get(rule_id)
        if rule is None:
            return False
        self._unwatch((rule,))
        self._release(rule)
        return True

    def clear(self, client: str) -> list[Rule]:
        """Delete all rules of the client and return them."""
        rules = list(self._clients.pop(client, {}).values())
        self._unwatch(rules)
        for rule in rules:
            self._note(rule, -1)
        return rules

    def observe(self, series: Series, value: str) -> Sequence[Rule]:
        """Return the rules that the value fires, in the order in which they were set.

        Rules that fire once are deleted. `value` is decimal text.
        """
        watched = self._watched.get(series)
        if watched is None:
            return ()
        fired = watched.observe(Decimal(value))
        if gone := [rule for rule in fired if rule.once]:
            self._unwatch(gone)
            for rule in gone:
                self._release(rule)
        return fired

    def _unwatch(self, rules: Iterable[Rule]) -> None:
        by_series: dict[Series, list[Rule]] = {}
        for rule in rules:
            by_series.setdefault(rule.series, []).append(rule)
        for series, each in by_series.items():
            watched = self._watched[series]
            watched.remove(each)
            if not watched:
                del self._watched[series]

    def _release(self, rule: Rule) -> None:
        del self._clients[rule.client][rule.id]
        self._note(rule, -1)

    def _note(self, rule: Rule, change: int) -> None:
        self._count += change
        if rule.owner:
            self._owners[rule.owner] += change
            if not self._owners[rule.owner]:
                del self._owners[rule.owner]


def _holds(rule: Rule, value: Decimal) -> bool:
    """Return True if the value satisfies `>` or `<`; always False for `crosses`."""
    return value > rule.threshold if rule.op == ABOVE else value < rule.threshold if rule.op == BELOW else False


def _without(items: list[_Item], places: Sequence[int]) -> list[_Item]:
    """Return the items without those at these ascending indexes."""
    kept: list[_Item] = []
    start = 0
    for at in places:
        kept += items[start:at]
        start = at + 1
    kept += items[start:]
    return kept
