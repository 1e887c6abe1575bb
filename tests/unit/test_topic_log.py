"""The topic log returns exactly the missed messages of a returning client, or None."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count, pairwise, takewhile
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from api.hub import topic_log
from api.hub.channels import CHANNELS
from api.hub.messages import Message
from api.hub.topic_log import Continuity, TopicLog
from api.hub.transport.wire import event
from db import topics

SMALL_DEPTH = 5
instruments = st.sampled_from(["EUR_USD", "GBP_USD"])
epochs = st.sampled_from(["one", "two", "three"])


def message(
    seq: int, epoch: str | None = "one", topic: str = "EUR_USD", channel: str = topics.PRICES, body: bytes | None = None
) -> Message:
    body = f"{topic} {epoch} {seq}".encode() if body is None else body
    return Message(CHANNELS[channel], topic, (), body, event("e", body), epoch, seq, None, {}, ())


def candle(minute: int, seq: int, epoch: str | None = "one", topic: str = "EUR_USD|1m") -> Message:
    """Return the candle of `minute`; every message has a distinct body."""
    body = f"{topic} {epoch} {seq} {minute}".encode()
    starts = datetime(2025, 11, 18, 12, tzinfo=UTC) + timedelta(minutes=minute)
    return Message(CHANNELS[topics.CANDLES], topic, (), body, event("e", body), epoch, seq, starts, {}, ())


def append(log: TopicLog, message: Message) -> bool:
    return log.append(message, log.continuity(message))


def missed_bodies(log: TopicLog, topic: str, epoch: str, seq: int) -> list[bytes] | None:
    frames = log.missed(topic, epoch, seq)
    return None if frames is None else [frame.packet.removeprefix(b'42["e",').removesuffix(b"]") for frame in frames]


def log_of(*seqs: int) -> TopicLog:
    log = TopicLog()
    for seq in seqs:
        append(log, message(seq))
    return log


class Recorded(RuleBasedStateMachine):
    """A log that is small enough to overflow, and the plain list of its accepted messages."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = mock.patch.object(topic_log, "MESSAGES_PER_TOPIC", SMALL_DEPTH)
        self.depth.start()
        self.log = TopicLog()
        self.accepted: dict[str, list[tuple[str, int, bytes]]] = {}  # instrument -> (epoch, seq, body), in order of arrival
        self.latest: dict[str, bytes] = {}
        self.bodies = (str(number).encode() for number in count())

    def teardown(self) -> None:
        self.depth.stop()

    @rule(instrument=instruments, epoch=epochs, seq=st.integers(1, 30))
    def append_anything(self, instrument: str, epoch: str, seq: int) -> None:
        body = next(self.bodies)
        held = self.accepted.setdefault(instrument, [])
        is_known = bool(held) and held[-1][0] == epoch and seq <= held[-1][1]
        given_ = message(seq, epoch, instrument, body=body)
        assert self.log.holds(topics.PRICES, instrument, epoch, seq) == is_known
        assert append(self.log, given_) == (not is_known)
        if not is_known:
            held.append((epoch, seq, body))
            self.latest[instrument] = body
        assert self.log.continuity(given_) is Continuity.SEEN

    @rule(instrument=instruments, steps=st.integers(1, 2 * SMALL_DEPTH))
    def append_next(self, instrument: str, steps: int) -> None:
        """Append the next messages of a stream."""
        epoch, head, _ = self.accepted[instrument][-1] if self.accepted.get(instrument) else ("one", 0, b"")
        for seq in range(head + 1, head + 1 + steps):
            self.append_anything(instrument, epoch, seq)

    @rule(instrument=instruments)
    def append_foreign_price(self, instrument: str) -> None:
        foreign = message(0, None, instrument, body=next(self.bodies))
        self.log.note_foreign(foreign)
        self.latest[instrument] = foreign.body

    @rule(instrument=instruments, epoch=epochs, seq=st.integers(1, 30))
    def append_alert(self, instrument: str, epoch: str, seq: int) -> None:
        append(self.log, message(seq, epoch, instrument, topics.VOLATILITY_ALERTS, next(self.bodies)))

    @invariant()
    def missed_is_the_contiguous_tail_or_nothing(self) -> None:
        for instrument in ("EUR_USD", "GBP_USD"):
            tail = contiguous_tail(self.accepted.get(instrument, []))
            for epoch in ("one", "two", "never"):
                for seq in range(-1, 45):
                    assert missed_bodies(self.log, instrument, epoch, seq) == expected(tail, epoch, seq)
            assert self.log.latest(instrument) == self.latest.get(instrument)


def contiguous_tail(accepted: list[tuple[str, int, bytes]]) -> list[tuple[str, int, bytes]]:
    """Return the last messages with consecutive seqs, at most as many as the log keeps."""
    backwards = accepted[::-1][:SMALL_DEPTH]
    following = takewhile(lambda pair: (pair[1][0], pair[1][1] + 1) == pair[0][:2], pairwise(backwards))
    return (backwards[:1] + [before for _, before in following])[::-1]


def expected(tail: list[tuple[str, int, bytes]], epoch: str, seq: int) -> list[bytes] | None:
    if not tail or tail[0][0] != epoch or not tail[0][1] - 1 <= seq <= tail[-1][1]:
        return None
    return [body for _, number, body in tail if number > seq]


TestRecorded = Recorded.TestCase
TestRecorded.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@given(st.integers(1, 3000), st.integers(-5, 3005))
@settings(deadline=None, max_examples=30)
def test_log_keeps_1000_messages(head: int, seq: int) -> None:
    log = log_of(*range(1, head + 1))
    missed = missed_bodies(log, "EUR_USD", "one", seq)
    if max(0, head - topic_log.MESSAGES_PER_TOPIC) <= seq <= head:
        assert missed == [f"EUR_USD one {number}".encode() for number in range(seq + 1, head + 1)]
    else:
        assert missed is None


def test_missed_messages_of_an_unknown_position_are_none() -> None:
    log = log_of(1, 2, 3)
    assert log.missed("GBP_USD", "one", 0) is None
    assert log.missed("EUR_USD", "another", 2) is None
    assert log.missed("EUR_USD", "one", 4) is None
    assert log.missed("EUR_USD", "one", 3) == []


@pytest.mark.parametrize(
    ("seq", "epoch", "place"),
    [
        (3, "one", Continuity.SEEN),
        (1, "one", Continuity.SEEN),
        (4, "one", Continuity.NEXT),
        (5, "one", Continuity.GAP),
        (4, "two", Continuity.GAP),
        (1, "two", Continuity.GAP),
    ],
)
def test_continuity_of_a_message_depends_on_seq_and_epoch(seq: int, epoch: str, place: Continuity) -> None:
    assert log_of(1, 2, 3).continuity(message(seq, epoch)) is place


def test_first_message_of_a_topic_follows_only_within_the_current_epoch() -> None:
    assert TopicLog().continuity(message(1)) is Continuity.GAP  # no position yet: the hub reads the stream
    log = log_of(1)
    assert log.continuity(message(1, topic="GBP_USD")) is Continuity.NEXT
    assert log.continuity(message(2, topic="GBP_USD")) is Continuity.GAP
    assert log.continuity(message(1, "two", topic="GBP_USD")) is Continuity.GAP
    assert log.continuity(message(1, channel=topics.VOLATILITY_ALERTS)) is Continuity.NEXT


def test_new_epoch_starts_a_new_tail() -> None:
    log = log_of(1, 2, 3)
    assert append(log, message(1, "two"))
    assert append(log, message(2, "two"))
    assert log.missed("EUR_USD", "one", 2) is None
    assert missed_bodies(log, "EUR_USD", "two", 0) == [b"EUR_USD two 1", b"EUR_USD two 2"]


def test_positions_of_another_epoch_than_the_present_are_not_recovered() -> None:
    log = log_of(1, 2, 3)
    log.begin("one")
    assert missed_bodies(log, "EUR_USD", "one", 2) == [b"EUR_USD one 3"]
    log.begin("two")  # it began on another topic
    assert log.missed("EUR_USD", "one", 2) is None
    assert log.missed("EUR_USD", "one", 3) is None


def test_bodies_of_known_numbers_are_kept_until_the_data_are_lost() -> None:
    log = log_of(1, 2, 3)
    append(log, message(7, topic="GBP_USD", channel=topics.VOLATILITY_ALERTS))
    assert [log.body(topics.PRICES, "EUR_USD", "one", seq) for seq in (0, 1, 3, 4)] == [None, b"EUR_USD one 1", b"EUR_USD one 3", None]
    assert log.body(topics.PRICES, "EUR_USD", "two", 3) is None
    assert log.body(topics.VOLATILITY_ALERTS, "GBP_USD", "one", 7) == b"GBP_USD one 7"
    assert log.body(topics.VOLATILITY_ALERTS, "GBP_USD", "one", 6) is None
    assert (log.head(topics.PRICES, "EUR_USD"), log.continues(topics.PRICES, "EUR_USD", "one")) == (3, True)
    log.forget()
    assert (log.head(topics.PRICES, "EUR_USD"), log.continues(topics.PRICES, "EUR_USD", "one")) == (0, False)
    assert log.latest("EUR_USD") == b"EUR_USD one 3"


def test_alert_keeps_only_its_position() -> None:
    log = TopicLog()
    assert append(log, message(1, channel=topics.VOLATILITY_ALERTS))
    assert not append(log, message(1, channel=topics.VOLATILITY_ALERTS))
    assert log.holds(topics.VOLATILITY_ALERTS, "EUR_USD", "one", 1)
    assert not log.holds(topics.PRICES, "EUR_USD", "one", 1)
    assert log.latest("EUR_USD") is None
    assert log.missed("EUR_USD", "one", 0) is None


def test_seed_never_replaces_a_newer_price() -> None:
    log = log_of(7)
    log.seed_latest({"EUR_USD": b"older", "GBP_USD": b"stored"})
    assert (log.latest("EUR_USD"), log.latest("GBP_USD"), log.latest("USD_JPY")) == (b"EUR_USD one 7", b"stored", None)
    assert log.missed("GBP_USD", "one", 0) is None  # a latest price is no history


def candles_of(*messages: Message) -> list[bytes]:
    """Return the first messages of a log with these candles."""
    log = TopicLog()
    for each in messages:
        if each.epoch is None:
            log.note_foreign(each)
        else:
            assert append(log, each)
    return log.newest("EUR_USD|1m", datetime(2100, 1, 1, tzinfo=UTC))


def test_candle_that_begins_after_now_is_no_beginning() -> None:
    """The clock was ahead, then it was set back."""
    log, ahead, present = TopicLog(), candle(600, 1), candle(0, 2)
    now = datetime(2025, 11, 18, 12, 0, 30, tzinfo=UTC)
    append(log, ahead)
    assert log.newest("EUR_USD|1m", now) == []
    append(log, present)
    assert log.newest("EUR_USD|1m", now) == [present.body]
    assert log.newest("EUR_USD|1m", now + timedelta(hours=10)) == [present.body, ahead.body]


def test_forming_candle_is_kept_in_its_latest_form() -> None:
    first, second, following = candle(0, 1), candle(0, 2), candle(1, 3)
    assert candles_of() == []
    assert candles_of(first) == [first.body]
    assert candles_of(first, second) == [second.body]
    assert candles_of(first, second, following) == [following.body]
    assert candles_of(first, candle(5, 1, topic="EUR_USD|5m")) == [first.body]


def test_correction_of_an_older_candle_keeps_the_newest() -> None:
    newest, correction = candle(5, 1), candle(2, 2)
    assert candles_of(newest, correction) == [correction.body, newest.body]  # the next message follows its seq
    assert candles_of(newest, correction, again := candle(5, 3)) == [again.body]


def test_foreign_candle_is_the_newest_until_an_own_one() -> None:
    ours, foreign = candle(3, 1), candle(3, 0, None)
    assert candles_of(foreign) == [foreign.body]
    assert candles_of(ours, foreign) == [ours.body, foreign.body]
    assert candles_of(candle(1_000_000, 0, None), ours) == [ours.body], "a wrong time is replaced"
    assert candles_of(candle(9, 1, "lost"), ours) == [ours.body], "an ended epoch is replaced"


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_candles_contain_the_newest_and_end_before_the_next_seq(minutes: list[int]) -> None:
    messages = [candle(minute, seq) for seq, minute in enumerate(minutes, 1)]
    bodies = candles_of(*messages)
    newest = max(messages, key=lambda each: (each.starts, each.seq))
    assert bodies[-1] == newest.body
    assert set(bodies) == {newest.body, messages[-1].body}


def test_candle_is_no_price() -> None:
    log = log_of(1)
    append(log, candle(0, 1))
    append(log, candle(0, 1, topic="EUR_USD"))
    assert log.latest("EUR_USD") == b"EUR_USD one 1"
    assert log.latest("EUR_USD|1m") is None
    assert log.missed("EUR_USD|1m", "one", 0) is None
    assert not append(log, candle(0, 1)), "a candle is relayed once"
