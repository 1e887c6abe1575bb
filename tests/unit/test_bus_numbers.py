"""The numbers of a publisher, and the count of the hub's bad messages."""

from __future__ import annotations

from itertools import permutations

import pytest

from api.hub.messages import BadMessage
from api.hub.skips import Skips
from db.bus.numbers import Numbers

BAD = BadMessage("not_json", "no JSON")


def test_highest_number_of_each_topic_is_known() -> None:
    numbers = Numbers()
    assert numbers.known("p", ["A"]) == ("", "", [0])
    numbers.note("p", "one", {"A": 5, "B": 1})
    numbers.note("p", "one", {"A": 3})  # an answer of another thread that comes late
    assert numbers.known("p", ["A", "B", "C"]) == ("one", "", [5, 1, 0])


def test_new_epoch_forgets_the_numbers_and_remembers_the_ended_one() -> None:
    numbers = Numbers()
    numbers.note("p", "one", {"A": 5})
    numbers.note("p", "two", {"B": 1})
    assert numbers.known("p", ["A", "B"]) == ("two", "one", [0, 1])
    numbers.note("p", "one", {"A": 6})  # an answer of the ended epoch that comes late
    assert numbers.known("p", ["A", "B"]) == ("two", "one", [0, 1])


@pytest.mark.parametrize("order", sorted(set(permutations(["live", "stream", "stream"]))), ids=str)
def test_copies_of_a_bad_message_count_once(order: tuple[str, ...]) -> None:
    skips = Skips()
    for copy in order:
        if copy == "live":
            skips.live("prices", b"bad", BAD)
        else:
            skips.entry("prices", b"1-1", b"bad", BAD)
    assert skips.counts == {"not_json": 1}


def test_equal_foreign_messages_and_different_entries_count_each() -> None:
    skips = Skips()
    for _ in range(3):
        skips.live("prices", b"bad", BAD)
    skips.entry("prices", b"1-1", b"other", BAD)
    skips.entry("prices", b"1-2", b"another", BAD)
    skips.malformed("prices", b"1-3", ValueError("no field"))
    skips.malformed("candles", b"1-3", ValueError("no field"))
    assert skips.counts == {"not_json": 5, "malformed_entry": 2}
