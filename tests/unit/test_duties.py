"""Duties: their names, the keys of their locks, and the share of each process."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil
from pathlib import Path
from zlib import crc32

import pytest

from config.process.duties import duties_of, may_take, parts_of, source_of
from config.settings import SettingsError, SourceSpec, load
from db.duties import key_of
from jobs.duties.shares import by_preference, share, takers, to_release

LIVE = [SourceSpec("oanda"), SourceSpec("binance"), SourceSpec("synthetic"), SourceSpec("replay", Path("/a/EUR_USD.csv"))]
EVERYTHING: Sequence[str] = ()


def test_duties_follow_from_the_settings() -> None:
    assert duties_of(LIVE, split=2, shards=2) == (
        "source:oanda", "source:binance:0/2", "source:binance:1/2", "source:synthetic", "source:replay:EUR_USD.csv",
        "write:0", "write:1", "gaps:oanda", "gaps:binance", "roll_up", "publish_alerts", "timed",
    )  # fmt: skip
    assert duties_of([]) == ("write:0", "roll_up", "publish_alerts", "timed")


def test_entries_of_one_name_are_different_duties() -> None:
    specs = [SourceSpec("replay", Path(folder) / "a.csv") for folder in ("/x", "/y")]
    assert duties_of(specs)[:2] == ("source:replay:a.csv", "source:replay:a.csv#2")


def test_no_key_is_zero_and_no_two_are_equal() -> None:
    names = {*duties_of(LIVE, shards=64), *(name for split in range(1, 17) for name in duties_of(LIVE, split=split))}
    keys = {name: key_of(name) for name in names}
    assert 0 not in keys.values()
    assert len(set(keys.values())) == len(names) > 200
    for name, key in keys.items():  # the oracle reads the digest as text
        unsigned = int(blake2b(name.encode(), digest_size=4).hexdigest(), 16)
        assert key == (unsigned if unsigned < 2**31 else unsigned - 2**32)


def test_each_symbol_belongs_to_one_part_of_a_split_source() -> None:
    parts = parts_of([SourceSpec("binance")], 3)
    assert [part.name for part in parts] == ["binance:0/3", "binance:1/3", "binance:2/3"]
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT", "ADAUSDT"):
        assert [part.index for part in parts if part.has(symbol)] == [crc32(symbol.encode()) % 3]


@pytest.mark.parametrize(
    ("part", "source"),
    [("binance:0/4", "binance"), ("binance", "binance"), ("replay:EUR_USD.csv", "replay:EUR_USD.csv"), ("oanda:x/2", "oanda:x/2")],
)
def test_source_of_a_part(part: str, source: str) -> None:
    assert source_of(part) == source


@pytest.mark.parametrize("members", [1, 2, 3, 4, 15, 20])
def test_share_is_the_even_one_if_all_may_take_all(members: int) -> None:
    names = [f"d{number}" for number in range(15)]
    assert share(EVERYTHING, names, [EVERYTHING] * members) == ceil(15 / members)


def test_share_counts_the_processes_that_may_take_a_duty() -> None:
    names = ["source:a", "source:b", "source:c", "source:d", "roll_up", "timed"]
    members = [EVERYTHING, ("source:*",)]
    assert share(members[1], names, members) == 2
    assert share(members[0], names, members) == 4
    assert takers("timed", members) == 1
    assert not may_take(members[1], "timed")
    assert may_take(("gaps:*", "source:[ab]"), "source:b")
    # the duties that nobody else may take come first, and the others are released first
    assert set(by_preference("m", names, members)[:2]) == {"roll_up", "timed"}
    assert to_release("m", names, members).startswith("source:")


def test_members_prefer_different_duties_and_release_the_least_preferred() -> None:
    names = [f"d{number}" for number in range(60)]
    orders = {member: by_preference(member, names, [EVERYTHING] * 4) for member in ("a/1", "b/1", "c/1", "d/1")}
    assert len({tuple(order[:3]) for order in orders.values()}) == 4
    assert all(sorted(order) == sorted(names) for order in orders.values())
    assert by_preference("a/1", reversed(names), [EVERYTHING] * 4) == orders["a/1"]
    assert to_release("a/1", names, [EVERYTHING] * 4) == orders["a/1"][-1]


def test_recording_is_released_last() -> None:
    names = ["source:replay:a.csv", "timed"]
    assert {to_release(f"m{number}", names, [EVERYTHING] * 2) for number in range(50)} == {"timed"}


@pytest.mark.parametrize(
    ("variable", "bad"), [("JOBS_POLL_SECONDS", "0.1"), ("JOBS_POLL_SECONDS", "11"), ("BINANCE_SPLIT", "0"), ("BINANCE_SPLIT", "17")]
)
def test_settings_have_limits(variable: str, bad: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load({variable: bad}, dotenv=None)


def test_settings_of_duties_have_defaults() -> None:
    chosen = load({}, dotenv=None)
    assert (chosen.jobs_poll_seconds, chosen.jobs_duties, chosen.binance_split) == (1.0, (), 1)
    assert load({"JOBS_DUTIES": "source:*, timed"}, dotenv=None).jobs_duties == ("source:*", "timed")
