"""`max_rate` with more than 64 rooms: a slot of its period for each instrument."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from math import floor
from zlib import crc32

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from api.hub.fanout import RATES, cohorts
from api.hub.fanout.slots import JOINT_ROOMS, slot_of, slots_of
from db import topics
from tests.support.processes import ROOT
from tests.unit.test_fanout import CLIENTS, ROOMS, Machine, World, leftovers

SYMBOLS = [f"SYM_{number:04}" for number in range(5000)]
STEPS = 400  # per period


def subscribed(symbols: list[str], rate: float) -> World:
    """Return a fan-out with one client that holds the prices of these instruments."""
    world = World()
    world.add("one")
    world.fanout.join("one", [topics.price_room(symbol) for symbol in symbols], rate)
    return world


def test_slots_of_each_rate_are_25_ms_apart() -> None:
    assert [slots_of(rate) for rate in RATES] == [400, 200, 80, 40, 20, 8, 4, 2, 1]


def test_slot_is_that_of_the_instrument() -> None:
    check = 0xCBF43926  # the CRC-32 of these digits, as published with the algorithm
    rooms = ["price_123456789", "book_123456789_20", "candle_123456789_1m"]
    assert [slot_of(room, 1.0) for room in rooms] == [check % 40] * 3
    assert slot_of("price_EUR_USD", 5.0) == crc32(b"EUR_USD") % 8
    assert slot_of("price_ÆON_USD", 0.1) == crc32("ÆON_USD".encode()) % 400


def test_max_rate_slots_are_equal_in_two_processes() -> None:
    code = "import sys; from api.hub.fanout.slots import slot_of; print(*(slot_of('price_' + each, 1.0) for each in sys.argv[1:]))"
    found = [
        subprocess.run(
            [sys.executable, "-c", code, *SYMBOLS[:100]],
            env={**os.environ, "PYTHONHASHSEED": seed}, cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    ]  # fmt: skip
    assert found[0] == found[1]
    assert len(set(found[0].split())) > 20


def test_max_rate_slots_with_5000_rooms() -> None:
    """Each instrument ticks 2.5 times a second at random times, for five periods at rate 1."""
    world, rate, chance = subscribed(SYMBOLS, 1.0), 1.0, random.Random(17)
    world.time.advance(0.3)
    published: dict[str, tuple[float, str]] = {}  # symbol -> time and name of its last price
    for _ in range(5 * STEPS):
        for symbol in chance.sample(SYMBOLS, 31):
            published[symbol] = world.time.now, f"{topics.price_room(symbol)}{world.time.now:.6f}"
            world.publish_named(topics.price_room(symbol), published[symbol][1])
        world.time.advance(1 / STEPS)
    end = world.time.now
    world.time.advance(1.0)
    came: dict[str, list[float]] = {}
    last: dict[str, str] = {}
    for when, name in world.timed("one"):
        symbol = name[len("price_") : len("price_") + 8]
        came.setdefault(symbol, []).append(when)
        last[symbol] = name
    assert last == {symbol: name for symbol, (_, name) in published.items()}
    for symbol, times in came.items():
        assert all(after - before >= 1 - 1e-6 for before, after in pairwise(times)), symbol
        assert times[-1] <= published[symbol][0] + 1 + 1e-6
        offset = crc32(symbol.encode()) % 40 / 40
        assert all(abs((when - offset) - round(when - offset)) < 1e-6 for when in times), symbol
    _check_even(world, rate, end)


def _check_even(world: World, rate: float, end: float) -> None:
    """Assert that no tick of a whole period carries more than twice the mean of its slots."""
    slots = slots_of(rate)
    counts = Counter(floor(when * slots + 0.5) for when, _ in world.timed("one") if 1 <= when < floor(end))
    assert len(counts) == (floor(end) - 1) * slots
    assert max(counts.values()) <= 2 * sum(counts.values()) / len(counts)


@pytest.mark.parametrize("rate", RATES)
def test_all_instruments_share_one_tick_with_64_rooms(rate: float) -> None:
    world = subscribed(SYMBOLS[:JOINT_ROOMS], rate)
    for number in range(20):
        for symbol in SYMBOLS[:JOINT_ROOMS]:
            world.price(topics.price_room(symbol), number)
        world.fanout.flush()
        world.time.advance(0.25 / rate)
    world.time.advance(1 / rate)
    ticks = Counter(when for when, _ in world.timed("one"))
    assert set(ticks.values()) == {JOINT_ROOMS}
    assert len(world.sent["one"]) == len(ticks) == 6  # one at once, then one a period
    world.fanout.join("one", [topics.price_room(SYMBOLS[JOINT_ROOMS])], rate)
    for number in range(20, 40):
        for symbol in SYMBOLS[:JOINT_ROOMS]:
            world.price(topics.price_room(symbol), number)
        world.fanout.flush()
        world.time.advance(0.25 / rate)
    used = {crc32(symbol.encode()) % slots_of(rate) for symbol in SYMBOLS[:JOINT_ROOMS]}
    late = [when for when, _ in world.timed("one") if when > 7.25 / rate]
    assert {round(when * rate % 1 * slots_of(rate)) % slots_of(rate) for when in late} == used


def test_snapshot_of_a_newcomer_is_not_repeated_in_its_slot() -> None:
    rooms = [topics.price_room(symbol) for symbol in SYMBOLS[:100]]
    world = subscribed(SYMBOLS[:100], 1.0)
    world.add("two")
    world.time.advance(0.001)
    for room in rooms:
        world.price(room, 1)
    world.fanout.join("two", rooms, 1.0)  # its snapshot contains these prices
    world.publish(rooms[7], 2)
    world.time.advance(1)
    assert len(world.received("one")) == 100
    assert world.received("two") == [f"{rooms[7]}2"]
    for client in ("one", "two"):
        world.fanout.remove(client)
    assert leftovers(world.fanout) == []


def test_rooms_that_move_to_slots_lose_and_repeat_no_price() -> None:
    """The last price waits in the joint clock; the answer to the join has no snapshot of it."""
    symbols = SYMBOLS[:JOINT_ROOMS]
    world, room = subscribed(symbols, 1.0), topics.price_room(symbols[0])
    world.publish(room, 1)
    world.time.advance(0)
    world.publish(room, 2)
    world.fanout.join("one", [topics.price_room(SYMBOLS[JOINT_ROOMS])], 1.0)
    world.time.advance(3)
    assert world.received("one") == [f"{room}1", f"{room}2"]
    (first, _), (second, _) = world.timed("one")
    assert 1 <= second - first < 2
    world.publish(room, 3)
    world.fanout.leave("one", [topics.price_room(SYMBOLS[JOINT_ROOMS])])  # back to the joint clock
    world.time.advance(2)
    assert world.received("one") == [f"{room}1", f"{room}2", f"{room}3"]


def test_price_that_the_joint_tick_has_sent_does_not_follow_in_the_slot() -> None:
    world, rooms = subscribed(SYMBOLS[:JOINT_ROOMS], 1.0), [topics.price_room(symbol) for symbol in SYMBOLS[: JOINT_ROOMS + 1]]
    world.add("many")
    world.fanout.join("many", rooms, 1.0)
    world.time.advance(0.001)
    world.publish(rooms[0], 1)
    world.time.advance(0)
    assert (world.received("one"), world.received("many")) == ([f"{rooms[0]}1"], [])  # it waits for its slot
    world.fanout.join("one", rooms[-1:], 1.0)
    world.time.advance(3)
    assert world.received("one") == world.received("many") == [f"{rooms[0]}1"]
    world.publish(rooms[0], 2)
    world.time.advance(1)
    assert world.timed("one")[1:] == world.timed("many")[1:] != []


class SlottedMachine(Machine):
    """The same rules when two rooms at one rate are many, so that rooms often change clocks."""

    longest = 3.0  # a room that has moved may need two periods

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(cohorts, "JOINT_ROOMS", 1)

    @rule(client=st.sampled_from(CLIENTS[:2]), rooms=st.lists(st.sampled_from(ROOMS), min_size=1, max_size=2, unique=True))
    def join(self, client: str, rooms: list[str]) -> None:
        super().join(client, rooms, 1.0)

    @rule(client=st.sampled_from(CLIENTS[:2]), rooms=st.lists(st.sampled_from(ROOMS), min_size=1, max_size=2, unique=True))
    def leave(self, client: str, rooms: list[str]) -> None:
        super().leave(client, rooms)

    @rule(room=st.sampled_from(ROOMS), times=st.integers(1, 2))
    def publish_and_move(self, room: str, times: int) -> None:
        """Leave a price to its clock, and change the number of rooms of its clients."""
        for _ in range(times):
            self.publish([room], flush=True)
            self.world.time.advance(0)
        for client in self.alerts:
            held = self.world.fanout.rooms(client)
            other = next((each for each in ROOMS if each != room and (each in held or len(held) == 1)), None)
            if room in held and other is not None:
                (self.leave if other in held else self.join)(client, [other])

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            self.patch.undo()


TestSlottedMachine = SlottedMachine.TestCase
TestSlottedMachine.settings = settings(max_examples=75, stateful_step_count=30, deadline=None)
