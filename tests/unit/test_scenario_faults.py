"""Faults: the messages at which each acts, and the states of a book that receives the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import orjson
import pytest

from db.scenarios.model import Fault
from jobs.feeds.scenario.faults import Faults, Late, Refused
from jobs.feeds.scenario.messages import Played
from tests.support.even_recordings import even_recording, shipped
from tests.support.virtual_time import PlayedRun, play

STABLE = shipped("stable-mode")


def diff(number: int, instrument: str = "BTCUSDT") -> Played:
    text = b'{"data":{"E":1700000000000,"U":%d,"u":%d,"b":[],"a":[]}}' % (number, number)
    return Played(number / 10, "diff", instrument, text, 0, number, number)


def passed(faults: Sequence[Fault], number: int = 100, seed: int = 1) -> list[Played]:
    """The messages that arrive if `number` diffs are sent, ten a second."""
    run = Faults(faults, seed)
    return [out for each in range(number) for out in run.passed(diff(each))]


def ids(messages: Sequence[Played]) -> list[int]:
    return [each.last_id for each in messages if each.kind == "diff"]


def missing(messages: Sequence[Played], number: int = 100) -> list[int]:
    return sorted(set(range(number)) - set(ids(messages)))


@pytest.mark.parametrize(
    ("fault", "lost"),
    [
        (Fault("drop", at=2.0), [20]),
        (Fault("drop", at=2.0, count=3), [20, 21, 22]),
        (Fault("drop", at=2.0, seconds=0.5), [20, 21, 22, 23, 24]),
        (Fault("drop", at=2.0, seconds=0.5, count=2), [20, 21]),
        (Fault("drop", every=25), [24, 49, 74, 99]),
        (Fault("drop", every=25, count=2), [24, 49]),
        (Fault("drop", every=25, seconds=6), [24, 49]),
        (Fault("drop", at=50.0), []),
    ],
)
def test_dropped_diffs_are_those_of_time_or_number(fault: Fault, lost: list[int]) -> None:
    assert missing(passed([fault])) == lost


def test_duplicate_arrives_twice() -> None:
    assert ids(passed([Fault("duplicate", at=2.0)], 25))[18:] == [18, 19, 20, 20, 21, 22, 23, 24]


def test_reordered_neighbours_are_swapped() -> None:
    messages = passed([Fault("reorder", every=10)], 21)
    assert ids(messages) == [*range(9), 10, 9, *range(11, 19), 20, 19]
    assert [each.due for each in messages] == sorted(each.due for each in messages)


def test_reordered_diffs_of_two_instruments_do_not_mix() -> None:
    run = Faults([Fault("reorder", at=0.0)], 1)
    sent = [diff(0), diff(1, "ETHUSDT"), diff(2), diff(3, "ETHUSDT")]
    assert ids([out for each in sent for out in run.passed(each)]) == [1, 2, 0, 3]


def test_corrupt_text_is_cut_and_is_no_json() -> None:
    messages = passed([Fault("corrupt", every=1)])
    for message in messages:
        whole = diff(message.last_id).text
        assert whole.startswith(message.text)
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(message.text)


def test_disconnect_loses_its_seconds_and_names_both_ends() -> None:
    messages = passed([Fault("disconnect", at=3.0, seconds=2.0)])
    assert missing(messages) == list(range(30, 50))
    assert [(each.kind, each.due) for each in messages if each.kind != "diff"] == [("disconnected", 3.0), ("connected", 5.0)]


def test_disconnect_of_two_instruments_names_both() -> None:
    run = Faults([Fault("disconnect", at=0.0, seconds=1.0)], 1)
    sent = [out for number in range(20) for out in run.passed(diff(number, ("BTCUSDT", "ETHUSDT")[number % 2]))]
    assert [(each.kind, each.instrument) for each in sent if each.kind != "diff"] == [
        ("disconnected", "BTCUSDT"), ("disconnected", "ETHUSDT"), ("connected", "BTCUSDT"), ("connected", "ETHUSDT"),
    ]  # fmt: skip
    assert run.effects.counts == {"disconnect": 1}


def test_silence_delivers_everything_at_its_end() -> None:
    messages = passed([Fault("silence", at=3.0, seconds=2.0)])
    assert ids(messages) == list(range(100))
    assert {each.due for each in messages if 30 <= each.last_id < 50} == {5.0}


def test_every_begins_a_span_after_so_many_diffs() -> None:
    assert missing(passed([Fault("disconnect", every=40, seconds=0.5, count=1)])) == [39, 40, 41, 42, 43]


def test_clock_skew_shifts_the_event_time_alone() -> None:
    messages = passed([Fault("clock_skew", at=1.0, count=1, amount=-1500)], 12)
    skewed = messages[10]
    assert orjson.loads(skewed.text)["data"]["E"] == 1_700_000_000_000 - 1_500
    assert replace(skewed, recorded_text=diff(10).text) == diff(10)
    assert [each.text for each in messages[:10]] == [diff(number).text for number in range(10)]


def test_other_messages_pass_faults_of_diffs() -> None:
    ticker = Played(2.0, "ticker", "BTCUSDT", b'{"data":{"u":5}}', 0, 5, 5)
    for kind in ("drop", "duplicate", "reorder", "corrupt", "clock_skew"):
        assert list(Faults([Fault(kind, every=1)], 1).passed(ticker)) == [ticker]


def test_faults_act_in_the_order_of_the_file() -> None:
    assert ids(passed([Fault("drop", every=2), Fault("duplicate", every=2)], 8)) == [0, 2, 2, 4, 6, 6]


def test_jump_adds_ids_when_it_is_due() -> None:
    run = Faults([Fault("id_jump", every=3, count=2, amount=50), Fault("id_jump", at=0.5, amount=7)], 1)
    assert [run.jump(number / 10) for number in range(10)] == [0, 0, 50, 0, 0, 57, 0, 0, 0, 0]


def test_snapshot_requests_are_refused_for_seconds_or_a_count() -> None:
    run = Faults([Fault("snapshot_refused", at=5, seconds=4, amount=1)], 1)
    assert [run.snapshot(now) for now in (4.9, 5.0, 7.5, 9.0)] == [None, Refused(4), Refused(2), None]
    counted = Faults([Fault("snapshot_refused", at=5, count=2, amount=3)], 1)
    assert [counted.snapshot(now) for now in (4, 5, 6, 7)] == [None, Refused(3), Refused(3), None]


def test_late_snapshots_have_an_age_and_a_count() -> None:
    run = Faults([Fault("snapshot_late", at=5, seconds=30, count=2)], 1)
    assert [run.snapshot(now) for now in (4, 5, 60, 61)] == [None, Late(30), Late(30), None]


def test_slow_statements_and_publishes_are_separate() -> None:
    run = Faults([Fault("slow_bus", at=2, seconds=3, amount=40), Fault("slow_database", every=2, amount=5)], 1)
    assert [run.slow_ms("slow_bus", now) for now in (1, 2, 4.9, 5)] == [0, 40, 40, 0]
    assert [run.slow_ms("slow_database", now) for now in range(4)] == [0, 5, 0, 5]


def test_slow_clients_are_counted_while_they_stall() -> None:
    run = Faults([Fault("slow_client", at=2, seconds=3, amount=20), Fault("slow_client", at=4, seconds=9, amount=5)], 1)
    assert [run.slow_clients(now) for now in (1, 2, 4, 5, 13)] == [0, 20, 25, 5, 0]
    assert run.effects.counts == {"slow_client": 2}


def test_effects_have_first_and_last_time() -> None:
    run = Faults([Fault("drop", at=2.0), Fault("silence", at=4.0, seconds=1.5)], 1)
    assert (run.effects.first, run.effects.last_end) == (None, None)
    for number in range(100):
        run.passed(diff(number))
    assert (run.effects.first, run.effects.last_end, run.effects.counts) == (2.0, 5.5, {"drop": 1, "silence": 1})


def test_equal_seeds_cut_equally_and_others_differ() -> None:
    one, two, other = (passed([Fault("corrupt", every=1)], seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one != other


# The states that the table of section 11 names, in a book with the rules of a spot market.


def run_with(fault: Fault, seconds: float = 40) -> PlayedRun:
    return play(replace(STABLE, faults=(fault,)), [even_recording(60, levels=6)], seconds, real=True)


@pytest.mark.parametrize(
    ("fault", "states"),
    [
        (Fault("drop", at=10), [("gap", "missing_update"), ("resyncing", "missing_update"), ("live", "missing_update")]),
        (Fault("duplicate", at=10), []),
        (Fault("reorder", at=10), [("gap", "missing_update"), ("resyncing", "missing_update"), ("live", "missing_update")]),
        (Fault("corrupt", at=10), [("gap", "bad_message"), ("resyncing", "bad_message"), ("live", "bad_message")]),
        (Fault("disconnect", at=10, seconds=3), [("stale", "disconnected"), ("resyncing", "disconnected"), ("live", "disconnected")]),
        (Fault("silence", at=10, seconds=8), [("stale", "silent"), ("live", "silent")]),
        (Fault("silence", at=10, seconds=3), []),
        (Fault("id_jump", at=10, amount=1000), [("gap", "missing_update"), ("resyncing", "missing_update"), ("live", "missing_update")]),
        (Fault("clock_skew", at=10, seconds=5, amount=2000), []),
    ],
)
def test_book_has_the_states_of_the_table(fault: Fault, states: list[tuple[str, str]]) -> None:
    played = run_with(fault)
    assert played.states() == [("live", "start"), *states]
    assert played.shadow.checked > 300
    assert (played.record.wrong_books, played.shadow.unchecked) == (0, 0)
    assert played.record.gaps == sum(state == "gap" for state, _ in states)


@pytest.mark.parametrize("kind", ["drop", "duplicate", "reorder"])
def test_no_book_is_wrong_if_each_fifth_diff_has_a_fault(kind: str) -> None:
    played = run_with(Fault(kind, every=5))
    assert played.flow.faults.effects.counts[kind] >= 60
    assert (played.record.wrong_books, played.shadow.unchecked) == (0, 0)


def with_drop(fault: Fault) -> PlayedRun:
    faults = (Fault("drop", at=10), fault)
    return play(replace(STABLE, faults=faults), [even_recording(60, levels=6)], 40, real=True)


def test_late_snapshot_is_requested_again_and_joins() -> None:
    played = with_drop(Fault("snapshot_late", at=10, seconds=4, count=3))
    assert played.books.requested_again == 3
    assert played.states()[-1] == ("live", "missing_update")
    assert played.record.wrong_books == 0


def test_refused_snapshot_waits_for_retry_after() -> None:
    played = with_drop(Fault("snapshot_refused", at=10, count=1, amount=7))
    ((refused, retry_after),) = played.books.refusals
    assert retry_after == 7
    live = played.books.books["BTCUSDT"].changes[-1]
    assert live[0] == pytest.approx(refused + 7.05)
    assert live[2] == "live"
    assert played.record.wrong_books == 0


def test_skewed_event_times_do_not_change_the_lag() -> None:
    assert run_with(Fault("clock_skew", at=0, seconds=40, amount=2000)).lag == play(STABLE, [even_recording(60, levels=6)], 40).lag


def test_equal_seeds_give_equal_time_lines() -> None:
    faults = tuple(Fault(kind, every=40) for kind in ("drop", "duplicate", "reorder", "corrupt"))
    scenario = replace(shipped("burst-mode"), faults=faults, delay_ms=(5, 15))
    one, two, other = (play(replace(scenario, seed=seed), [even_recording(60, levels=6)], 60) for seed in (3, 3, 4))
    assert (one.record, one.queue, one.lag, one.status) == (two.record, two.queue, two.lag, two.status)
    assert one.books.received == two.books.received
    assert one.queue != other.queue
