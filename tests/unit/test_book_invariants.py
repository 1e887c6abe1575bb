"""Random losses, repeats, connections and answers: the rules that hold in every sequence."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.books.book import Book, Levels
from jobs.books.machine import BookMachine
from jobs.books.messages import Diff, Snapshot
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, SnapshotRequest, State, StateChange
from jobs.books.parts.transitions import MachineOptions
from jobs.books.sequence import RULES

LEVELS = 6  # of a snapshot: few, so that books become thin
ACTIONS = ["deliver"] * 12 + [
    "lose",
    "repeat",
    "swap",
    "bad",
    "overflow",
    "reconnect",
    "silence",
    "answer",
    "answer",
    "old",
    "fail",
    "tick",
]


class Exchange:
    """A random market whose price moves; its complete book at every id."""

    def __init__(self, seed: int, market: str) -> None:
        self._random = random.Random(seed)
        self._is_usdm = market == "usdm"
        self._mid = 100.0
        self.book, self.last_id = Book(), 10
        self.tops: dict[int, tuple[Levels, Levels]] = {}  # id -> complete book
        self.book.replace(
            [[f"{100 - step / 2:.1f}", "1"] for step in range(1, 20)], [[f"{100 + step / 2:.1f}", "1"] for step in range(1, 20)]
        )
        self.tops[self.last_id] = self.book.top(LEVELS)

    def diff(self, now: float) -> Diff:
        """The next diff: the price moves, levels on the wrong side of it end."""
        self._mid += self._random.choice([-1.5, -0.5, 0.0, 0.0, 0.5, 1.5])
        bids, asks = self.book.top(1_000)
        changed_bids = [[price, "0.0"] for price, _ in bids if float(price) >= self._mid]
        changed_asks = [[price, "0.0"] for price, _ in asks if float(price) <= self._mid]
        for _ in range(4):
            step = self._random.randint(1, 8) / 2
            quantity = self._random.choice(["0", "1.0", "2.5", "7"])
            changed_bids.append([f"{self._mid - step - 0.25:.2f}", quantity])
            changed_asks.append([f"{self._mid + step + 0.25:.2f}", quantity])
        # A diff that leaves a side of the whole market empty adds a level.
        changed_bids.append([f"{self._mid - 0.75:.2f}", "3"])
        changed_asks.append([f"{self._mid + 0.75:.2f}", "3"])
        first, previous = self.last_id + 1, self.last_id
        self.last_id += self._random.randint(1, 3)
        self.book.apply(changed_bids, changed_asks)
        self.tops[self.last_id] = self.book.top(1_000)
        return Diff(first, self.last_id, previous if self._is_usdm else None, round(now * 1000), changed_bids, changed_asks)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.last_id, *self.book.top(LEVELS), LEVELS)


class Checked:
    """A machine whose outputs are checked one by one."""

    def __init__(self, exchange: Exchange, market: str) -> None:
        self.now = 0.0
        self._exchange = exchange
        self.machine = BookMachine(RULES[market], MachineOptions(refresh_levels=4, buffer_max=8), lambda: 1.0, 0.0)
        self._state: str | None = None
        self._has_snapshot = False  # since the last return to live
        self.request: int | None = None
        self.old = exchange.snapshot()
        self.check(self.machine.start(0.0))

    def check(self, outputs: list[Output]) -> None:
        for place, output in enumerate(outputs):
            if isinstance(output, StateChange):
                assert output.previous == self._state
                if output.state is State.GAP:
                    after = outputs[place + 1]
                    assert isinstance(after, StateChange)
                    assert after.state is State.RESYNCING
                self._has_snapshot &= output.state is State.LIVE
                self._state = output.state
            elif isinstance(output, SnapshotRequest):
                self.request = output.number
            else:
                assert self._state == "live"
                assert isinstance(output, BookSnapshot) or self._has_snapshot
                self._has_snapshot = True
                self._compare()
        assert self.machine.state == self._state != "gap"
        assert sum(isinstance(output, BookUpdate | BookSnapshot) for output in outputs) <= 1

    def _compare(self) -> None:
        """The published book has exactly the exchange's levels inside the window."""
        book, low, high = self.machine.book, *self.machine.book.window
        assert self.machine.update_id is not None
        bids, asks = self._exchange.tops[self.machine.update_id]
        assert book.has_both_sides
        assert not book.is_crossed
        assert book.top(1_000) == (
            [level for level in bids if low is None or float(level[0]) >= float(low)],
            [level for level in asks if high is None or float(level[0]) <= float(high)],
        )

    def deliver(self, *diffs: Diff) -> None:
        for diff in diffs:
            self.check(self.machine.diff(diff, self.now, self.now))

    def act(self, action: str) -> None:
        self.now = round(self.now + 0.1, 3)
        exchange, machine = self._exchange, self.machine
        if action == "deliver":
            self.deliver(exchange.diff(self.now))
        elif action == "lose":
            exchange.diff(self.now)
        elif action == "repeat":
            self.deliver(*[exchange.diff(self.now)] * 2)
        elif action == "swap":
            self.deliver(*reversed([exchange.diff(self.now), exchange.diff(self.now)]))
        elif action in ("bad_message", "overflow"):
            exchange.diff(self.now)
            self.check(getattr(machine, action)(self.now))
        elif action == "reconnect":
            self.check(machine.disconnected(self.now))
            exchange.diff(self.now)
            self.check(machine.connected(self.now))
        elif action == "silence":
            self.now += 5.0
            self.check(machine.tick(self.now))
        elif action == "answer":
            self.check(machine.snapshot(exchange.snapshot(), self.now, self.request))
        elif action == "old":
            self.check(machine.snapshot(self.old, self.now, self.request))
            self.old = exchange.snapshot()
        elif action == "fail":
            self.check(machine.snapshot_failed(self.now, self.request))
        else:
            self.check(machine.tick(self.now))


@pytest.mark.parametrize("market", ["spot", "usdm"])
@settings(max_examples=60)
@given(seed=st.integers(0, 1_000), actions=st.lists(st.sampled_from(ACTIONS), min_size=20, max_size=80))
def test_every_sequence_publishes_right_books_and_returns_to_live(market: str, seed: int, actions: list[str]) -> None:
    exchange = Exchange(seed, market)
    checked = Checked(exchange, market)
    for action in actions:
        checked.act(action)
    for _ in range(800):  # the longest wait is 30 s
        checked.act("deliver")
        checked.act("tick")
        checked.act("answer")
        if checked.machine.state == "live":
            break
    assert checked.machine.state == "live"
