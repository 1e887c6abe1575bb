"""The player of scenarios: speeds, due times, ids over restarts, its complete book."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.scenarios.model import Phase
from db.scenarios.recording import Recording, read_recording
from jobs.feeds.scenario.messages import Played, levels_of, raised, shifted
from jobs.feeds.scenario.player import Player, UnplayableRecording
from jobs.feeds.scenario.speeds import Speeds
from tests.support.even_recordings import FIRST_ID, FIRST_NS, even_lines, even_recording
from tests.support.small_books import SmallLevels

BURST = (Phase(25, 1, 1), Phase(5, 20, 20))
RAMPS = (Phase(120, 1, 20), Phase(30, 20, 20), Phase(60, 20, 1))
STEADY = Speeds([Phase(60, 1, 1)], repeat=True)

_SPEED = st.floats(0.01, 100)
_PHASES = st.lists(st.builds(Phase, st.floats(0.5, 60), _SPEED, _SPEED), min_size=1, max_size=4)


def diffs(messages: Sequence[Played]) -> list[Played]:
    return [each for each in messages if each.kind == "diff"]


def left_out(messages: Sequence[Played]) -> list[int]:
    """Numbers of ids that are missing between two diffs; a snapshot there has the last one."""
    steps = [after.first_id - before.last_id - 1 for before, after in pairwise(diffs(messages))]
    return [each for each in steps if each]


def read(player: Player, number: int) -> list[Played]:
    return [player.read() for _ in range(number)]


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("phases", [BURST, RAMPS])
def test_position_is_the_integral_of_the_speed(phases: Sequence[Phase], repeat: bool) -> None:
    speeds = Speeds(phases, repeat=repeat)
    times = np.arange(0.005, 300, 0.01)  # midpoints
    integral = np.cumsum([speeds.speed_at(time) * 0.01 for time in times])
    found = [speeds.position_at(time + 0.005) for time in times]
    assert np.allclose(found, integral, rtol=0, atol=0.11)  # a jump of the speed inside one step of 0.01 s


def test_known_positions_of_the_ramp() -> None:
    speeds = Speeds(RAMPS, repeat=False)
    # 120 s from 1 to 20 are 1,260; 30 s at 20 are 600; 60 s from 20 to 1 are 630; then speed 1.
    assert [speeds.position_at(time) for time in (120, 150, 210, 220)] == [1260, 1860, 2490, 2500]
    assert [speeds.time_at(position) for position in (1260, 1860, 2490, 2500)] == [120, 150, 210, 220]
    assert [speeds.phase_at(time) for time in (0, 119, 120, 209, 210)] == [0, 0, 1, 2, None]


def test_repeated_phases_go_on_without_a_seam() -> None:
    speeds = Speeds(BURST, repeat=True)
    assert [speeds.position_at(time) for time in (25, 30, 55, 60, 3_000)] == [25, 125, 150, 250, 12_500]
    assert [speeds.time_at(position) for position in (25, 125, 150, 250, 12_500)] == [25, 30, 55, 60, 3_000]
    assert [speeds.phase_at(time) for time in (24, 26, 31, 59)] == [0, 1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(_PHASES, st.booleans(), st.floats(0, 500))
def test_time_is_the_inverse_of_position(phases: list[Phase], repeat: bool, time: float) -> None:
    speeds = Speeds(phases, repeat=repeat)
    position = speeds.position_at(time)
    again = speeds.position_at(speeds.time_at(position))
    assert again == pytest.approx(position, rel=1e-9, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(_PHASES, st.floats(0.02, 90))
def test_times_above_a_speed_are_those_of_a_fine_grid(phases: list[Phase], limit: float) -> None:
    speeds = Speeds(phases, repeat=False)
    spans = speeds.above(limit)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    for time in np.linspace(0, speeds.seconds * 0.9999, 300):
        if abs(speeds.speed_at(time) - limit) > 1e-6 * limit:
            assert any(begin <= time < end for begin, end in spans) == (speeds.speed_at(time) > limit)


def test_due_times_follow_the_recording_at_speed_1() -> None:
    messages = read(Player([even_recording(60)], STEADY), 1_300)
    assert [each.due for each in diffs(messages)] == pytest.approx([number * 0.1 for number in range(len(diffs(messages)))])
    assert [each.kind for each in messages[:3]] == ["restart", "snapshot", "diff"]


def test_due_times_at_twice_the_speed_are_halved() -> None:
    fast = diffs(read(Player([even_recording(60)], Speeds([Phase(60, 2, 2)], repeat=True)), 500))
    assert [each.due for each in fast] == pytest.approx([number * 0.05 for number in range(len(fast))])


def test_recorded_time_does_not_depend_on_the_speed() -> None:
    fast = diffs(read(Player([even_recording(60)], Speeds([Phase(60, 9, 9)], repeat=True)), 100))
    assert [each.recorded for each in fast] == pytest.approx([FIRST_NS / 1e9 + number * 0.1 for number in range(len(fast))])


@pytest.mark.parametrize("rounds", [3])
def test_ids_rise_by_a_constant_when_the_recording_starts_again(rounds: int) -> None:
    player = Player([even_recording(10)], STEADY)
    messages = read(player, rounds * 102)
    assert [each.kind for each in messages].count("restart") == rounds
    played = diffs(messages)
    assert left_out(messages) == [1] * (rounds - 1)
    texts = [orjson.loads(each.text)["data"] for each in played]
    assert [(each["U"], each["u"]) for each in texts] == [(each.first_id, each.last_id) for each in played]
    assert [each["b"] for each in texts[:100]] == [each["b"] for each in texts[100:200]]
    snapshots = [orjson.loads(each.text)["lastUpdateId"] for each in messages if each.kind == "snapshot"]
    assert snapshots == [FIRST_ID - 1 + 201 * number for number in range(rounds)]
    assert [each.last_id for each in messages if each.kind == "restart"] == snapshots


def test_recordings_of_two_instruments_play_side_by_side() -> None:
    player = Player([even_recording(10), even_recording(5, symbol="ETHUSDT")], STEADY)
    assert player.instruments == ("BTCUSDT", "ETHUSDT")
    assert player.rate == pytest.approx(20)
    messages = read(player, 400)
    assert [each.due for each in messages] == sorted(each.due for each in messages)
    for instrument, restarts in (("BTCUSDT", 2), ("ETHUSDT", 4)):
        own = [each for each in messages if each.instrument == instrument]
        assert [each.kind for each in own].count("restart") == restarts
        assert left_out(own) == [1] * (restarts - 1)


def split(seconds: int, at: int) -> list[Recording]:
    lines = even_lines(seconds)
    return [read_recording("first.gz", lines[: at * 10 + 1]), read_recording("second.gz", lines[at * 10 + 1 :])]


def test_recording_without_a_snapshot_continues_the_one_before() -> None:
    whole = diffs(read(Player([even_recording(10)], STEADY), 250))
    parts = read(Player(split(10, 4), STEADY), 250)
    assert [each.text for each in diffs(parts)] == [each.text for each in whole]
    assert [each.due for each in diffs(parts)] == pytest.approx([each.due for each in whole])
    assert [each.kind for each in parts].count("restart") == 3


def test_first_recording_without_a_snapshot_is_refused() -> None:
    with pytest.raises(UnplayableRecording, match=r"second\.gz has no snapshot of BTCUSDT"):
        Player([split(10, 4)[1]], STEADY)


def test_same_recording_twice_replaces_the_book_and_keeps_ids_rising() -> None:
    messages = read(Player([even_recording(2), even_recording(2)], STEADY), 66)
    assert [each.kind for each in messages].count("restart") == 3
    assert left_out(messages) == [1, 1]
    restarts = [number for number, each in enumerate(messages) if each.kind == "restart"][1:]
    assert all(messages[number].last_id > messages[number - 1].last_id for number in restarts)


def test_unread_counts_diffs_that_are_due() -> None:
    player = Player([even_recording(10)], Speeds(BURST, repeat=True))
    assert player.unread(0.05) == 1
    # 25 s at 10 messages/s and 2 s at 200, with the one at 0 s and the one at 27 s
    assert player.unread(27.0001) == 251 + 400
    while player.next_due <= 27.0001:
        player.read()
    assert player.unread(27.0001) == 0
    assert player.unread(27.0101) == 2


def test_next_due_is_the_due_time_of_the_next_message() -> None:
    player = Player([even_recording(10)], STEADY)
    for _ in range(200):
        due = player.next_due
        assert player.read().due == due


def test_snapshot_is_the_complete_book_at_the_last_message_read() -> None:
    player = Player([even_recording(10)], STEADY, new_book=SmallLevels)
    own = SmallLevels()
    for message in islice(iter(player.read, None), 250):
        if message.kind in ("snapshot", "diff"):
            (own.replace if message.kind == "snapshot" else own.apply)(*levels_of(message.text))
            if message.last_id % 10 == 1:
                answer = orjson.loads(player.snapshot("BTCUSDT", 7, message.due) or b"")
                assert answer["lastUpdateId"] == message.last_id
                assert (answer["bids"], answer["asks"]) == own.top(7)


def test_snapshot_exists_from_the_restart_on() -> None:
    player = Player([even_recording(10)], STEADY, new_book=SmallLevels)
    assert player.snapshot("BTCUSDT", 5, 0.0) is None
    player.read()
    assert orjson.loads(player.snapshot("BTCUSDT", 5, 0.0) or b"")["lastUpdateId"] == FIRST_ID - 1
    assert player.snapshot("ETHUSDT", 5, 0.0) is None


def test_late_snapshot_is_as_old_as_requested() -> None:
    player = Player([even_recording(60)], STEADY, new_book=SmallLevels, late=[3.0])
    while player.next_due <= 10:
        player.read()
    fresh, late = (orjson.loads(player.snapshot("BTCUSDT", 5, 10.05, age) or b"")["lastUpdateId"] for age in (None, 3.0))
    assert fresh - late == 2 * 30  # ids, 3 s of 10 diffs


def test_late_snapshot_in_the_first_seconds_is_the_oldest() -> None:
    player = Player([even_recording(60)], STEADY, new_book=SmallLevels, late=[30.0])
    while player.next_due <= 10:
        player.read()
    assert orjson.loads(player.snapshot("BTCUSDT", 5, 10.05, 30.0) or b"")["lastUpdateId"] == FIRST_ID - 1


def test_later_snapshot_in_a_recording_is_taken_over_where_it_joins() -> None:
    lines = even_lines(10)
    later = {"lastUpdateId": FIRST_ID + 2 * 40 - 1, "bids": [["5.00", "1"]], "asks": [["6.00", "2"]]}
    lines.insert(52, b"%d %b" % (FIRST_NS + 5_000_000_000, orjson.dumps(later)))  # 1.1 s after diff 39, its last
    player = Player([read_recording("x.gz", lines)], STEADY, new_book=SmallLevels)
    kinds = [each.kind for each in read(player, 42)]
    assert kinds[-1] == "diff"
    assert len(orjson.loads(player.snapshot("BTCUSDT", 100, 0.0) or b"")["bids"]) == 50
    joined = player.read()
    assert joined.first_id == FIRST_ID + 80
    assert joined.base is not None
    expected = SmallLevels()
    expected.replace(later["bids"], later["asks"])  # type: ignore[arg-type]
    expected.apply(*levels_of(joined.text))
    answer = orjson.loads(player.snapshot("BTCUSDT", 100, 0.0) or b"")
    assert (answer["bids"], answer["asks"]) == expected.top(100)
    assert [each.kind for each in read(player, 15)].count("snapshot") == 1


def test_jump_leaves_ids_out_for_good() -> None:
    player = Player([even_recording(10)], STEADY, new_book=SmallLevels, jump=lambda due: 500 if due == pytest.approx(2.0) else 0)
    played = diffs(read(player, 150))
    assert left_out(played) == [500, 1]
    assert played[20].first_id - played[19].last_id == 501
    assert orjson.loads(player.snapshot("BTCUSDT", 5, 0.0) or b"")["lastUpdateId"] == played[-1].last_id


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("diff", b'{"data":{"E":5,"U":1,"u":2,"b":[]}}', b'{"data":{"E":5,"U":11,"u":12,"b":[]}}'),
        ("diff", b'{"data":{"U": 1,"u" :2,"pu":0}}', b'{"data":{"U": 11,"u" :12,"pu":10}}'),
        ("ticker", b'{"data":{"u":7,"s":"X","U":1}}', b'{"data":{"u":17,"s":"X","U":1}}'),
        ("snapshot", b'{"lastUpdateId":3,"bids":[]}', b'{"lastUpdateId":13,"bids":[]}'),
        ("diff", b'{"data":{"u":2,"b":[],"a":[],"U":1}}', b'{"data":{"u":12,"b":[],"a":[],"U":11}}'),
        ("diff", b'{"data":{"U":1,"\\u0075":2}}', b'{"data":{"U":11,"u":12}}'),  # another way to write "u"
    ],
)
def test_ids_in_texts_are_raised(kind: str, text: bytes, expected: bytes) -> None:
    assert orjson.loads(raised(kind, text, 10)) == orjson.loads(expected)  # type: ignore[arg-type]
    assert raised(kind, text, 0) == text  # type: ignore[arg-type]


def test_event_time_alone_is_shifted() -> None:
    assert shifted(b'{"e":"x","E":1000,"T":1000}', -300) == b'{"e":"x","E":700,"T":1000}'
    assert shifted(b"{}", 5) == b"{}"


def test_recording_that_plays_once_has_an_end() -> None:
    recording = even_recording()
    player = Player([recording], STEADY, loop=False)
    again = Player([recording], STEADY)
    number = len(recording.entries) + 1  # the restart
    assert [player.read() for _ in range(number)] == read(again, number)
    assert player.ended
    assert player.next_due == float("inf")
    assert player.unread(1e6) == 0
    assert not again.ended
    assert again.unread(1e6) > 1_000


def test_unread_diffs_of_a_recording_that_plays_once_are_those_that_are_left() -> None:
    recording = even_recording()
    player = Player([recording], STEADY, loop=False)
    read(player, 7)
    assert player.unread(1e6) == recording.facts.messages - 5  # a restart, the snapshot and five diffs were read
