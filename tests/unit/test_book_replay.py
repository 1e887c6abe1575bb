"""Recorded order books through the state machine: whole, with faults, thin, and audited."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from itertools import islice
from operator import itemgetter

import pytest

from jobs.books.book import Book, Levels
from jobs.books.machine import BookMachine
from jobs.books.messages import Diff, Snapshot, Ticker
from jobs.books.parts.states import BookSnapshot, BookUpdate, Output, Reason, SnapshotRequest, StateChange
from jobs.books.sequence import NEXT, RULES, SEEN
from tests.support.depth import (
    ALL,
    RECORDED,
    SPOT_BTC,
    SPOT_ETH,
    USDM_BTC,
    Event,
    Recorded,
    answer,
    diffs,
    events,
    feed,
    machine,
    sha256,
    snapshot,
)

ANSWER_SECONDS = 0.05
Step = tuple[str, str | None, str]  # state, previous, reason


def steps(outputs: list[Output]) -> list[Step]:
    return [(output.state, output.previous, output.reason) for output in outputs if isinstance(output, StateChange)]


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
def test_recording_ends_with_the_book_of_the_oracle(recorded: Recorded) -> None:
    oracle, rule, first = recorded.oracle, RULES[recorded.market], snapshot(recorded)
    whole, inside = Book(), Book(first.window)
    for book in (whole, inside):
        book.replace(first.bids, first.asks)
    tickers = [event.message for event in events(recorded) if isinstance(event.message, Ticker)]
    ids = [ticker.update_id for ticker in tickers]
    own: int | None = None
    dropped = levels = held = differences = 0
    for diff in diffs(recorded):
        if own is None and rule.first_place(first.last_id, diff) is SEEN:
            dropped += 1
            continue
        assert (rule.first_place(first.last_id, diff) if own is None else rule.place(own, diff)) is NEXT
        own = diff.last_id
        levels += len(diff.bids) + len(diff.asks)
        for book in (whole, inside):
            book.apply(diff.bids, diff.asks)
        held = max(held, inside.complete.bids + inside.complete.asks)
        if newest := bisect_right(ids, own):
            differences += whole.best != (tickers[newest - 1].bid, tickers[newest - 1].ask)
    assert first.last_id == oracle["snapshot_id"]
    assert list(first.window) == oracle["window"]
    assert (len(diffs(recorded)), dropped, levels) == (oracle["diffs"], oracle["dropped"], oracle["levels_applied"])
    assert own == oracle["final_update_id"]
    assert [whole.complete.bids, whole.complete.asks] == oracle["final_levels"]
    assert [inside.complete.bids, inside.complete.asks] == oracle["levels_in_window"]
    assert whole.top(10) == inside.top(10) == (oracle["top10"]["bids"], oracle["top10"]["asks"])
    assert whole.checksum() == inside.checksum() == oracle["crc32_top10"]
    assert (sha256(whole), sha256(inside)) == (oracle["sha256_full"], oracle["sha256_window"])
    assert (held, differences) == (recorded.max_held, 0)


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda recorded: recorded.name)
def test_recording_through_the_machine_ends_with_the_oracle(recorded: Recorded) -> None:
    oracle, book_machine = recorded.oracle, machine(recorded)
    outputs = [output for event in events(recorded) for output in feed(book_machine, event, refused=True)]
    assert (book_machine.state, book_machine.update_id) == ("live", oracle["final_update_id"])
    assert sha256(book_machine.book) == oracle["sha256_window"]
    assert book_machine.book.checksum() == oracle["crc32_top10"]
    assert not [step for step in steps(outputs) if step[0] in ("gap", "stale")]
    audit = book_machine.audit
    assert (audit.checked > oracle["applied"] * 0.85, audit.failed) == (True, 0)
    thin = [step for step in steps(outputs) if step[2] == "thin"]
    assert len(thin) == {"spot_btcusdt": 2, "usdm_btcusdt": 8}.get(recorded.name, 0)


# thin


def test_spot_book_without_refreshes_is_thin_for_exactly_22_diffs() -> None:
    book_machine, thin_ids, requested = machine(SPOT_BTC), [], []
    back: int | None = None
    for event in events(SPOT_BTC):
        outputs = feed(book_machine, event, refused=True)
        if any(isinstance(output, SnapshotRequest) and output.is_refresh for output in outputs):
            requested.append(book_machine.update_id)
        if not isinstance(event.message, Diff):
            continue
        if (book_machine.state, book_machine.reason) == ("resyncing", "thin"):
            thin_ids.append(event.message.last_id)
            assert not any(isinstance(output, BookUpdate | BookSnapshot) for output in outputs)
        elif thin_ids and back is None:
            back = book_machine.update_id
            assert BookSnapshot(Reason.THIN) in outputs
    assert requested[0] == 50093353146
    assert (len(thin_ids), thin_ids[0], thin_ids[-1]) == (22, 50093367268, 50093371005)
    assert (back, book_machine.state) == (50093371436, "live")
    assert (book_machine.book.complete.bids, book_machine.book.complete.asks) == (135, 1450)


def test_spot_book_with_granted_refreshes_is_never_thin() -> None:
    run, refreshed = Run(SPOT_BTC), []
    for event in events(SPOT_BTC):
        known = len(run.outputs)
        run.take(event)
        if BookSnapshot(Reason.REFRESHED) in run.outputs[known:]:
            refreshed.append(event.received - events(SPOT_BTC)[0].received)
    assert steps(run.outputs) == [("live", "syncing", "start")]
    assert 247.0 < refreshed[0] < 248.0
    assert (run.wrong_books, run.machine.audit.failed) == (0, 0)
    assert min(run.machine.book.complete.bids, run.machine.book.complete.asks) > 150


# faults


@dataclass
class Run:
    """A machine beside a stand-in, which answers requests from its own complete book after 50 ms.

    The recording's snapshot answers the first request. Each book published as live is compared
    with the stand-in's at the same id.
    """

    recorded: Recorded
    machine: BookMachine = field(init=False)
    outputs: list[Output] = field(default_factory=list)
    wrong_books: int = 0

    def __post_init__(self) -> None:
        self.machine = machine(self.recorded)
        self._exchange = Book()
        self._last_id = 0  # of the exchange's book
        self._seen = 0  # of the last diff
        self._tops: dict[int, tuple[Levels, Levels]] = {}  # id -> best 20
        self._due: list[tuple[float, int]] = []  # (time, request)

    def take(self, event: Event, *delivered: Diff) -> None:
        """The exchange takes the event; the machine takes `delivered` instead of it, if given."""
        now, message = event
        self._answer(now)
        if isinstance(message, Snapshot):
            self._exchange.replace(message.bids, message.asks)
            self._last_id = message.last_id
            for diff in diffs(self.recorded):
                if message.last_id < diff.last_id and diff.last_id <= self._seen:
                    self._move(diff)
        elif isinstance(message, Diff):
            self._seen = message.last_id
            if self._last_id:
                self._move(message)
        for each in [event] if not delivered else [Event(now, diff) for diff in delivered]:
            self.check(feed(self.machine, each), now)

    def lose(self, event: Event) -> None:
        """The machine gets nothing of the event."""
        assert isinstance(event.message, Diff)
        self._seen = event.message.last_id
        self._move(event.message)

    def check(self, outputs: list[Output], now: float) -> None:
        self.outputs += outputs
        for output in outputs:
            if isinstance(output, SnapshotRequest) and self._last_id:
                self._due.append((now + ANSWER_SECONDS, output.number))
            elif isinstance(output, BookUpdate | BookSnapshot):
                bids, asks = self.machine.book.top(20)
                shadow_bids, shadow_asks = self._tops.get(self.machine.update_id or 0, ([], []))
                self.wrong_books += bids != shadow_bids[: len(bids)] or asks != shadow_asks[: len(asks)] or not bids or not asks

    def _answer(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, number = self._due.pop(0)
            self.check(self.machine.snapshot(answer(self._exchange, self._last_id), now, number), now)

    def _move(self, diff: Diff) -> None:
        self._exchange.apply(diff.bids, diff.asks)
        self._last_id = diff.last_id
        self._tops[diff.last_id] = self._exchange.top(20)

    @property
    def gaps(self) -> int:
        return sum(step == ("gap", "live", "missing_update") for step in steps(self.outputs))


@cache
def diff_events(recorded: Recorded, count: int) -> list[Event]:
    """Diffs up to `count` and the snapshot, without tickers."""
    return list(islice((event for event in events(recorded) if not isinstance(event.message, Ticker)), count))


def pairs(found: list[Event]) -> Iterator[tuple[int, Event, Event | None]]:
    """Each event with its place and the next one."""
    for place, event in enumerate(found):
        yield place, event, found[place + 1] if place + 1 < len(found) else None


@pytest.mark.parametrize("every", [3, 40])
@pytest.mark.parametrize("recorded", [SPOT_ETH, USDM_BTC], ids=lambda recorded: recorded.name)
def test_lost_diffs_publish_no_wrong_book(recorded: Recorded, every: int) -> None:
    run, lost = Run(recorded), 0
    for place, event, _ in pairs(diff_events(recorded, 1200)):
        if place > 50 and place % every == 0:
            run.lose(event)
            lost += 1
        else:
            run.take(event)
    assert run.wrong_books == 0
    assert run.gaps == (lost if every == 40 else run.gaps) > 25
    assert run.machine.state in ("live", "resyncing")


@pytest.mark.parametrize("recorded", [SPOT_ETH, USDM_BTC], ids=lambda recorded: recorded.name)
def test_repeated_diffs_are_ignored(recorded: Recorded) -> None:
    run = Run(recorded)
    for place, event, _ in pairs(diff_events(recorded, 1200)):
        again = [event.message] * 2 if place > 50 and place % 3 == 0 and isinstance(event.message, Diff) else []
        run.take(event, *again)
    assert (run.wrong_books, run.gaps, steps(run.outputs)) == (0, 0, [("live", "syncing", "start")])


@pytest.mark.parametrize("recorded", [SPOT_ETH, USDM_BTC], ids=lambda recorded: recorded.name)
def test_swapped_diffs_publish_no_wrong_book(recorded: Recorded) -> None:
    run, swapped, held = Run(recorded), 0, None
    for place, event, after in pairs(diff_events(recorded, 1200)):
        if held is not None:
            assert isinstance(event.message, Diff)
            run.take(event, event.message, held)
            held = None
        elif place > 50 and place % 40 == 0 and after is not None and isinstance(event.message, Diff):
            run.lose(event)
            held, swapped = event.message, swapped + 1
        else:
            run.take(event)
    assert (run.wrong_books, run.gaps) == (0, swapped)
    assert run.machine.state == "live"


decimal = cache(Decimal)  # the same few thousand prices occur in every run


class PlainBook:
    """The complete book of an exchange: price as a decimal -> quantity. Nothing is shared."""

    def __init__(self, first: Snapshot) -> None:
        self.sides = [{decimal(price): quantity for price, quantity in side} for side in (first.bids, first.asks)]

    def apply(self, diff: Diff) -> None:
        for held, changed in zip(self.sides, (diff.bids, diff.asks), strict=True):
            for price, quantity in changed:
                held.pop(decimal(price), None)
                if decimal(quantity):
                    held[decimal(price)] = quantity
        # Almost sorted already: so is the next sort of a few changed levels.
        self.sides = [dict(sorted(side.items(), key=itemgetter(0))) for side in self.sides]

    def inside(self, low: str | None, high: str | None) -> tuple[list[tuple[Decimal, str]], list[tuple[Decimal, str]]]:
        bids, asks = (sorted(side.items(), key=itemgetter(0)) for side in self.sides)
        lowest, highest = decimal(low or "-Infinity"), decimal(high or "Infinity")
        return [level for level in reversed(bids) if level[0] >= lowest], [level for level in asks if level[0] <= highest]


def test_each_lost_diff_of_the_first_500_is_a_gap_and_the_book_returns() -> None:
    recorded, first = SPOT_BTC, snapshot(SPOT_BTC)
    chain = [diff for diff in diffs(recorded) if diff.last_id > first.last_id][:520]
    exchange, answers = Book(), [first]  # the snapshot before each diff
    exchange.replace(first.bids, first.asks)
    for diff in chain:
        exchange.apply(diff.bids, diff.asks)
        answers.append(answer(exchange, diff.last_id))
    plain = PlainBook(first)
    for diff in chain[:10]:
        plain.apply(diff)
    # A run has the diff before the lost one, and ten after it.
    for lost in range(1, 501):
        plain.apply(chain[lost + 9])
        book_machine = machine(recorded, refresh_levels=0)
        book_machine.snapshot(answers[lost - 1], 0.0)
        book_machine.diff(chain[lost - 1], 0.0, 0.0)
        assert book_machine.state == "live"
        found = book_machine.diff(chain[lost + 1], 0.2, 0.2)
        assert steps(found) == [("gap", "live", "missing_update"), ("resyncing", "gap", "missing_update")]
        assert isinstance(found[-1], SnapshotRequest)
        found = book_machine.snapshot(answers[lost + 2], 0.25, found[-1].number)
        for diff in chain[lost + 2 : lost + 10]:
            found += book_machine.diff(diff, 0.3, 0.3)
        assert steps(found) == [("live", "resyncing", "missing_update")]
        bids, asks = ([(decimal(price), quantity) for price, quantity in side] for side in book_machine.book.top(ALL))
        assert (bids, asks) == plain.inside(*book_machine.book.window)
        assert book_machine.update_id == chain[lost + 9].last_id


# audit


def test_one_altered_ticker_of_the_recording_is_diverged() -> None:
    book_machine, found, altered = machine(SPOT_BTC), [], None
    for place, event in enumerate(events(SPOT_BTC)[:4000]):
        message = event.message
        if place > 2000 and altered is None and isinstance(message, Ticker) and isinstance(events(SPOT_BTC)[place + 1].message, Diff):
            altered = message
            event = Event(event.received, message._replace(bid=[message.bid[0], "0.12345000"]))
        found += feed(book_machine, event)
    if book_machine.audit.failed == 0:
        pytest.fail("the altered ticker was compared with no diff")
    assert [step for step in steps(found) if step[0] == "gap"] == [("gap", "live", "diverged")]


def test_tickers_that_are_half_a_second_late_cause_no_difference() -> None:
    late = [Event(event.received + 0.5 * isinstance(event.message, Ticker), event.message) for event in events(SPOT_BTC)[:12000]]
    book_machine = machine(SPOT_BTC)
    found = [output for event in sorted(late, key=lambda event: event.received) for output in feed(book_machine, event)]
    assert steps(found) == [("live", "syncing", "start")]
    assert (book_machine.audit.checked > 1000, book_machine.audit.failed) == (True, 0)
