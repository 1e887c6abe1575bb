"""The interval in which broadcasts are collected, with a manual clock and real sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.hub.transport.wire import Replay, Replayed
from tests.unit.test_fanout import CLIENTS, ROOMS, World, frame

INTERVAL = 0.02


@pytest.fixture
def world() -> World:
    made = World(INTERVAL)
    made.add("one", "two")
    for client in ("one", "two"):
        made.fanout.join(client, ["A", "B"])
    return made


def test_broadcasts_of_an_interval_are_one_send(world: World) -> None:
    for seq in range(1, 6):
        world.publish("A", seq)
        world.time.advance(0.003)
    world.publish("B", 1)
    assert world.sent == {"one": [], "two": []}
    world.time.advance(0.02)
    assert world.sent["one"] == world.sent["two"] == [(INTERVAL, b"<A1><A2><A3><A4><A5><B1>")]
    world.time.advance(1.0)
    world.publish("A", 6)
    world.time.advance(1.0)
    [(when, name)] = world.timed("one")[6:]
    assert name == "A6"
    assert when == pytest.approx(1.035 + INTERVAL)
    assert (world.fanout.batches, world.fanout.delivered) == (2, 14)


def test_without_an_interval_a_flush_sends_at_once() -> None:
    world = World()
    world.add("one")
    world.fanout.join("one", ["A"])
    world.publish("A", 1)
    assert world.timed("one") == [(0.0, "A1")]
    assert world.time._calls == []


def test_timer_is_started_once_and_only_for_pending_broadcasts(world: World) -> None:
    world.fanout.flush()
    world.publish("C", 1)  # a room without clients
    assert world.time._calls == []
    world.publish("A", 1)
    world.publish("A", 2)
    world.publish("B", 1)
    assert len(world.time._calls) == 1


@pytest.mark.parametrize("act", ["ack", "answer", "join", "leave", "replay", "add", "tick"])
def test_what_is_for_one_client_comes_after_the_broadcasts_before_it(act: str, world: World) -> None:
    world.add("rated")
    world.fanout.join("rated", ["A"], 5.0)
    world.publish("A", 1)
    acts: dict[str, Callable[[], Any]] = {
        "ack": lambda: world.fanout._boxes["one"].put(frame("own")),  # so are pings and pongs sent
        "answer": lambda: world.fanout.send("one", frame("own")),
        "join": lambda: world.fanout.join("one", ["C"]),
        "leave": lambda: world.fanout.leave("one", ["B"]),
        "replay": lambda: world.fanout.replay("one", Replay([Replayed(frame("own").wire)])),
        "add": lambda: world.add("new"),
        "tick": lambda: world.time.advance(0),
    }
    acts[act]()
    own = act in ("ack", "answer", "replay")
    assert world.timed("one") == [(0.0, "A1")] + [(0.0, "own")] * own
    assert world.timed("two") == [(0.0, "A1")]
    world.publish("A", 2)
    world.time.advance(1)
    assert world.received("one") == ["A1"] + ["own"] * own + ["A2"]


def test_frame_for_some_clients_keeps_its_place_in_the_interval(world: World) -> None:
    """An alert or `data_ready`, of which clients with other rights get another one or none."""
    world.add("three", "four")
    world.fanout.join("three", ["A"])
    world.fanout.join("four", ["A", "B"])
    world.publish("A", 1)
    world.fanout.send_to(["one", "three"], frame("both"))
    world.fanout.send_to(["two", "nobody"], frame("less"))
    world.publish("A", 2)
    assert not any(world.sent.values())
    world.time.advance(INTERVAL)
    assert [[data for _, data in world.sent[name]] for name in ("one", "two", "three", "four")] == [
        [b"<A1><both><A2>"], [b"<A1><less><A2>"], [b"<A1><both><A2>"], [b"<A1><A2>"]
    ]  # fmt: skip
    world.publish("A", 3)
    world.time.advance(INTERVAL)
    assert [data for _, data in world.sent["four"]] == [b"<A1><A2>", b"<A3>"]


def test_frame_for_some_clients_is_sent_in_parts_too() -> None:
    world = World()
    clients = [f"client-{number}" for number in range(120)]
    world.add(*clients)
    world.fanout.broadcast((), frame("all"))
    world.fanout.send_to(clients[:60], frame("some"))
    world.fanout.flush_in_parts()
    world.time.advance(0)
    assert [world.received(client) for client in clients] == [["all", "some"]] * 60 + [["all"]] * 60
    world.fanout.send_to(clients[:1], frame("only"))
    world.fanout.flush()
    assert [world.received(client)[-1] for client in clients[:2]] == ["only", "some"]
    assert len(world.sent[clients[-1]]) == 1, "no send without a frame"


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("broadcast"), st.lists(st.sampled_from(ROOMS), max_size=2, unique=True)),
        st.tuples(st.just("send"), st.sampled_from(CLIENTS)),
        st.tuples(st.just("put"), st.sampled_from(CLIENTS)),
        st.tuples(st.just("to"), st.lists(st.sampled_from(CLIENTS), max_size=3, unique=True)),
        st.tuples(st.just("join"), st.sampled_from(CLIENTS), st.sampled_from(ROOMS)),
        st.tuples(st.just("leave"), st.sampled_from(CLIENTS), st.sampled_from(ROOMS)),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.007, 0.02])),
    ),
    max_size=40,
)


@given(_STEPS)
def test_order_of_each_client_does_not_depend_on_the_interval(steps: list[tuple[str, Any]]) -> None:
    def received(interval: float) -> tuple[dict[str, list[str]], int]:
        world = World(interval)
        world.add(*CLIENTS)
        for number, (kind, *arguments) in enumerate(steps):
            if kind == "broadcast":
                world.fanout.broadcast(tuple(arguments[0]), frame(f"{number}"))
                world.fanout.flush()
            elif kind == "send":
                world.fanout.send(arguments[0], frame(f"{number}"))
            elif kind == "put":
                world.fanout._boxes[arguments[0]].put(frame(f"{number}"))
            elif kind == "to":
                world.fanout.send_to(arguments[0], frame(f"{number}"))
                world.fanout.flush()
            elif kind == "join":
                world.fanout.join(arguments[0], [arguments[1]])
            elif kind == "leave":
                world.fanout.leave(arguments[0], [arguments[1]])
            else:
                world.time.advance(arguments[0])
        world.time.advance(1)
        return {client: world.received(client) for client in CLIENTS}, world.fanout.delivered

    assert received(INTERVAL) == received(0.0)
