"""The connection of the relay: states, losses, silence, without Redis."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence
from typing import cast

import pytest

from api.hub.relay.link import MAX_BACKLOG, Link, Received, State
from db.bus import BusError, Subscription, Subscriptions
from tests.support.scripted_loop import ScriptedLoop

ONE, TWO, THREE = [("a", b"1")], [("a", b"2")], [("a", b"3")]


class End(BaseException):
    """An end that no `except Exception` stops."""


class Wire:
    """A subscription whose messages the test sends."""

    def __init__(self, log: list[str]) -> None:
        self.sock = socket.socket()
        self.sock.close()
        self.ready: list[list[Received]] = []
        self.error: BaseException | None = None
        self.pings = 0
        self._log = log

    def receive(self) -> list[Received]:
        if self.error is not None:
            raise self.error
        return self.ready.pop(0) if self.ready else []

    def ping(self) -> None:
        self.pings += 1

    def close(self) -> None:
        self._log.append("close")


class Rig:
    """A link with a scripted loop, and a handler that notes the messages and what it read."""

    def __init__(self) -> None:
        self.loop = ScriptedLoop()
        self.wires: list[Wire] = []
        self.log: list[str] = []
        self.taken: list[bytes] = []
        self.needs_bus: set[bytes] = set()
        self.fails: dict[bytes, BaseException] = {}
        self.refusals = 0  # of connections
        self.servers = 1  # each has a part of the subscription
        self.link = Link(self.subscribe, self, self.loop, lambda: self.loop.now)

    def subscribe(self) -> Subscriptions:
        if self.refusals:
            self.refusals -= 1
            raise BusError("refused")
        wires = [Wire(self.log) for _ in range(self.servers)]
        self.wires += wires
        return Subscriptions([cast(Subscription, wire) for wire in wires])

    def catch_up(self) -> None:
        self.log.append("catch up")

    def take(self, messages: Sequence[Received]) -> Sequence[Received]:
        for place, (_, body) in enumerate(messages):
            if body in self.fails:
                raise self.fails.pop(body)
            if body in self.needs_bus:
                return messages[place:]
            self.taken.append(body)
        return []

    def take_with_reads(self, messages: Sequence[Received]) -> None:
        for _, body in messages:
            self.log.append(f"read {body.decode()}")
            if body in self.fails:
                raise self.fails.pop(body)
            self.taken.append(body)

    def connect(self) -> Wire:
        self.link.begin()
        self.loop.turn()
        return self.wires[-1]

    def receive(self, *batches: list[Received]) -> None:
        self.wires[-1].ready += batches
        for _ in batches:
            self.loop.readable()


@pytest.fixture
def rig() -> Rig:
    return Rig()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_messages_in_the_confirmation_are_handled_after_the_streams(rig: Rig) -> None:
    subscribe = rig.subscribe

    def with_messages() -> Subscriptions:
        subscription = subscribe()
        rig.wires[-1].ready.append(ONE)
        return subscription

    rig.link = Link(with_messages, rig, rig.loop, lambda: rig.loop.now)
    rig.connect()
    assert (rig.log, rig.taken) == (["catch up", "read 1"], [b"1"])
    assert rig.link.state is State.LIVE


def test_states_from_the_connection_to_a_read_and_back(rig: Rig) -> None:
    assert (rig.link.state, rig.link.connected) == (State.CONNECTING, False)
    rig.connect()
    assert (rig.link.state, rig.link.connected) == (State.LIVE, True)
    rig.needs_bus = {b"2"}
    rig.receive([*ONE, *TWO, *THREE])
    assert (rig.link.state, rig.link.connected, rig.taken) == (State.READING, True, [b"1"])
    rig.receive(ONE)
    assert len(rig.loop.spawned) == 1, "a second greenlet was started"
    rig.loop.turn()
    assert (rig.link.state, rig.taken) == (State.LIVE, [b"1", b"2", b"3", b"1"])
    assert rig.log == ["catch up", "read 2", "read 3", "read 1"]
    rig.receive(THREE)
    assert rig.taken[-1] == b"3"


@pytest.mark.parametrize("where", ["callback", "greenlet"])
def test_fault_is_logged_with_its_traceback_and_reconnects(rig: Rig, where: str, caplog: pytest.LogCaptureFixture) -> None:
    rig.connect()
    rig.fails[b"1"] = ValueError("a bug")
    if where == "greenlet":
        rig.needs_bus = {b"0"}
        rig.receive([("a", b"0")])
    rig.receive(ONE)
    rig.loop.turn()
    assert not rig.link.connected
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert record.exc_info[0] is ValueError
    assert rig.loop.listeners[0].stops == 1
    rig.loop.advance(5)
    rig.needs_bus.clear()
    rig.receive(TWO)
    assert rig.taken[-1] == b"2"
    assert rig.link.connections == 2


def test_end_of_the_handler_ends_the_loop_of_the_relay(rig: Rig) -> None:
    rig.connect()
    rig.fails[b"1"] = End()
    with pytest.raises(End):
        rig.receive(ONE)
    assert rig.loop.listeners[0].stops == 1
    with pytest.raises(End):
        rig.link.run(threading.Event())


def test_lost_connection_is_one_warning_and_the_listener_stops_before_the_close(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    wire = rig.connect()
    rig.loop.on_stop = lambda: rig.log.append("stop")
    wire.error, rig.refusals = BusError("reset"), 3
    rig.loop.readable()
    assert rig.log == ["catch up", "stop", "close"]
    rig.loop.advance(20)
    assert warnings(caplog) == ["relay lost the bus"]
    assert rig.link.state is State.LIVE
    assert len(rig.wires) == 2


def test_back_off_doubles_from_a_fifth_of_a_second_to_five(rig: Rig) -> None:
    rig.refusals = 1_000
    rig.link.begin()
    delays = []
    for _ in range(12):
        rig.loop.turn()
        [(at, _, _)] = rig.loop._timers
        delays.append(at - rig.loop.now)
        rig.loop.advance(at - rig.loop.now)
    for attempt, delay in enumerate(delays):
        longest = min(5.0, 0.2 * 2**attempt)
        assert longest / 2 - 1e-6 <= delay <= longest + 1e-6


def test_full_backlog_reconnects_with_one_warning(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.connect()
    rig.needs_bus = {b"1"}
    rig.receive(ONE, [*TWO] * (MAX_BACKLOG - 1))
    assert rig.link.connected
    rig.receive(TWO)
    assert not rig.link.connected
    assert warnings(caplog) == ["relay backlog full, reconnects"]
    rig.loop.advance(5)
    assert (rig.link.state, rig.log[-1], rig.taken) == (State.LIVE, "catch up", [])


def test_backlog_is_handled_in_turns(rig: Rig) -> None:
    rig.connect()
    rig.needs_bus = {b"1"}
    rig.receive([*ONE] * 1_200)
    rig.loop.turn()
    assert (len(rig.taken), rig.loop.pauses) == (1_200, 2)


def test_silence_of_ten_seconds_sends_pings_and_any_bytes_end_it(rig: Rig) -> None:
    wire = rig.connect()
    rig.loop.advance(9.9)
    assert wire.pings == 0
    rig.loop.advance(0.1)
    assert wire.pings == 1
    rig.loop.advance(15)
    assert wire.pings == 4
    rig.loop.readable()  # pong
    rig.loop.advance(9.9)
    assert wire.pings == 4
    rig.loop.advance(20)
    assert rig.link.connected


def test_silence_of_31_seconds_reconnects(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    wire = rig.connect()
    rig.loop.advance(1)
    rig.loop.readable()
    rig.loop.advance(30)
    assert rig.link.connected
    rig.loop.advance(4)
    assert rig.log == ["catch up", "close"]
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert vars(record)["reason"] == "the bus is silent"
    rig.loop.advance(5)
    assert rig.wires[-1] is not wire
    assert rig.link.connected


def test_timer_of_an_old_connection_does_nothing(rig: Rig) -> None:
    old = rig.connect()
    old.error = BusError("reset")
    rig.loop.advance(4)
    rig.loop.readable()
    rig.loop.advance(1)
    assert len(rig.wires) == 2
    for _ in range(20):  # a timer of the old connection would send a second PING in each round
        rig.loop.advance(5)
        rig.loop.readable()
    assert old.pings == 0
    rig.loop.advance(15)
    assert rig.wires[-1].pings == 1
    assert len(rig.loop._timers) == 1


def test_pause_of_the_process_is_no_silence(rig: Rig) -> None:
    rig.connect()
    _, _, probe = rig.loop._timers.pop(0)
    rig.loop.now = 60.0  # stopped and continued: the timer runs before the socket is read
    probe()
    assert rig.link.connected
    rig.loop.advance(30)
    assert rig.link.connected
    rig.loop.advance(5)
    assert rig.log[1] == "close"


def test_connection_that_is_lost_during_a_read_is_not_used_by_its_greenlet(rig: Rig) -> None:
    wire = rig.connect()
    rig.needs_bus = {b"1"}
    rig.receive(ONE)
    wire.error = BusError("reset")
    rig.loop.readable()
    rig.loop.turn()
    assert (rig.taken, rig.link.state) == ([], State.CONNECTING)
    rig.loop.advance(5)
    assert (rig.link.state, rig.log) == (State.LIVE, ["catch up", "close", "catch up"])


def test_stop_closes_the_connection_for_good(rig: Rig) -> None:
    rig.connect()
    stop = threading.Event()
    stop.set()
    rig.link.run(stop)
    assert (rig.link.state, rig.log[-1], rig.loop.listeners[0].stops) == (State.CONNECTING, "close", 1)
    rig.loop.advance(60)
    assert len(rig.wires) == 1


def test_stop_during_the_connection_closes_it(rig: Rig) -> None:
    subscribe = rig.subscribe

    def stopped_meanwhile() -> Subscriptions:
        subscription = subscribe()
        rig.link.close()
        return subscription

    rig.link = Link(stopped_meanwhile, rig, rig.loop, lambda: rig.loop.now)
    rig.connect()
    assert (rig.link.state, rig.log, rig.loop.listeners) == (State.CONNECTING, ["close"], [])


def test_loss_of_one_server_is_the_loss_of_all(rig: Rig) -> None:
    rig.servers = 3
    rig.connect()
    rig.wires[1].ready.append(ONE)
    rig.loop.readable()
    assert rig.taken == [b"1"]
    rig.loop.on_stop = lambda: rig.log.append("stop")
    rig.wires[1].error = BusError("reset")
    rig.loop.readable()
    assert rig.log == ["catch up", *["stop"] * 3, *["close"] * 3]
    rig.loop.advance(5)
    assert (rig.link.state, len(rig.wires), rig.link.connections) == (State.LIVE, 6, 2)


def test_silence_of_one_server_is_found_although_another_one_sends(rig: Rig) -> None:
    rig.servers = 2
    rig.connect()
    busy, silent = rig.loop.listeners
    for _ in range(6):
        rig.loop.advance(5)
        busy.readable()
    assert rig.link.connected
    assert (rig.wires[0].pings, rig.wires[1].pings) == (0, 5)
    rig.loop.advance(5)
    assert rig.log[1:3] == ["close", "close"]
    assert silent.stops == 1
