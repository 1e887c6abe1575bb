"""Clients of order books on a system that plays scenarios: bursts, stalls and killed processes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis
from tickwire_client import AsyncClient, Refused, ServerHeartbeat

from db.bus import BookMessage, Bus
from tests.conftest import Servers, until
from tests.examples.program import Program, javascript, python
from tests.support.book_clients import ASKED, Stream, Watcher, node_watcher, same_books
from tests.support.clients import FxNode
from tests.support.hub_books import heartbeat, message, state
from tests.support.processes import ROOT, Web, stopped
from tests.support.up import Environment, Up, starter

EXAMPLES = ROOT / "clients/examples"
STALL_SECONDS = 10.0


@dataclass
class System:
    """A running system with one client of each kind, which live as long as the module."""

    up: Up
    python: Watcher
    node: FxNode
    stream: Stream  # of `node`
    small: list[Program]  # the clients of twenty lines

    @property
    def hub(self) -> str:
        return str(self.up.run["hub"])

    def play(self, scenario: str, **body: Any) -> str:
        """Switch to a scenario; return its `run_id`."""
        data, headers = orjson.dumps(body), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.up.run['rest']}/scenarios/{scenario}", data, headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return str(orjson.loads(answer.read())["run_id"])

    def kill(self, name: str) -> None:
        os.kill(self.up.run["pids"][name], signal.SIGKILL)

    def await_books(self, count: int, seconds: float = 60) -> None:
        """Wait until each client has so many more verified books that are live."""
        before = [len(items) for items in self._live()]

        def more() -> bool:
            return all(len(items) >= number + count for number, items in zip(before, self._live(), strict=True))

        until(more, seconds, lambda: f"{count} more books: {before}, {[items[-2:] for items in self._live()]}, {self.python.states[-4:]}")

    def _live(self) -> list[Sequence[Any]]:
        ours = [[book for book in self.python.books if book.state == "live"]]
        theirs = [[body for body in self.node.bodies("onBook") if body["state"] == "live"]]
        return [*ours, *theirs, *([line for line in each.lines if line.endswith(" verified")] for each in self.small)]

    def check(self) -> None:
        """Check all messages that all clients have received up to now."""
        self.python.check()
        self.stream.take(self.node.received)
        assert same_books(self.stream, self.python) > 0
        assert [body["message"] for body in self.node.bodies("onError") if body["code"] not in CAUSED] == []
        for program in self.small:  # python-socketio logs a connection that ends during a stall
            assert "Error" not in program.output()


CAUSED = {"unreachable", "disconnected", "unavailable", "no_book"}  # errors after a killed hub or Redis


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("books")
    environment = Environment(folder / "var")
    environment["SOURCES"] = "scenario"
    with ExitStack() as stack:
        up = stack.enter_context(starter(environment, folder))().ready()
        hub = str(up.run["hub"])
        texts = [(EXAMPLES / name).read_text().replace("http://127.0.0.1:5001", hub) for name in ("order_book.py", "order_book.mjs")]
        until(lambda: _has_book(hub), 30, "the first book")
        watcher, node = stack.enter_context(Watcher(hub)), stack.enter_context(node_watcher(hub))
        small = []
        for run, text in zip((python, javascript), texts, strict=True):
            (folder / run.__name__).mkdir()
            small.append(stack.enter_context(run(text, folder / run.__name__)))
        yield System(up, watcher, node, Stream(), small)


def _has_book(hub: str) -> bool:
    with FxNode(hub) as client:
        client.call("connect")
        return bool(client.call("subscribe", None, {"books": [ASKED]}).get("book_snapshot"))


def test_every_client_verifies_every_message_and_receives_heartbeats(system: System) -> None:
    system.await_books(20)
    system.check()
    until(lambda: len(system.python.heartbeats) > 1 and system.node.bodies("onHeartbeat"), 20, "heartbeats")
    beat = system.python.heartbeats[-1]
    assert isinstance(beat, ServerHeartbeat)
    assert (beat.current_scenario, beat.books) == ("stable-mode", {"BTCUSDT": "live"})
    assert system.node.bodies("onHeartbeat")[-1]["books"] == {"BTCUSDT": "live"}
    assert all("not verified" not in line for line in system.small[1].lines)
    book = system.python.client.request_book("BTCUSDT", 5)
    assert (book.verified, book.depth, len(book.bids), len(book.asks)) == (True, 5, 5, 5)
    answer = system.node.call("requestBook", "BTCUSDT", 50)
    assert (answer["verified"], len(answer["bids"])) == (True, 50)
    assert "BTCUSDT|20" in system.node.get("books")
    with pytest.raises(Refused, match="no_book"):
        system.python.client.request_book("ETHUSDT")


def test_asyncio_client_iterates_over_books_and_states(system: System) -> None:
    async def collect() -> list[Any]:
        async with AsyncClient(system.hub) as client:
            stream = client.book_updates(("BTCUSDT", 10), states=True)
            items = [await anext(stream) for _ in range(5)]
            assert (await client.get_subscriptions())["books"] == [{"pair": "BTCUSDT", "depth": 10}]
            assert (await client.unsubscribe(books="all"))["books"] == []
            assert (await client.request_book("BTCUSDT")).depth == 20
            with pytest.raises(Refused, match="A depth is one of"):
                await anext(client.book_updates(("BTCUSDT", 7)))
            return items

    items = asyncio.run(collect())
    assert all(item.verified and item.depth == 10 for item in items)
    assert [item.seq for item in items] == list(range(items[0].seq, items[0].seq + 5))


def test_program_of_the_javascript_readme_prints_books(system: System, tmp_path: Path) -> None:
    readme = (ROOT / "clients/js/README.md").read_text()
    [block] = [block for block in re.findall(r"```js\n(.*?)```", readme, re.DOTALL) if "onBook(" in block]
    text = block.replace("http://127.0.0.1:5001", system.hub).replace('"tickwire-client"', repr(str(ROOT / "clients/js/src/index.js")))
    with javascript(text, tmp_path) as program:
        program.check()
        until(lambda: any(line.endswith("live true") for line in program.lines), 20, lambda: str(program.lines))


def test_book_after_each_gap_is_a_snapshot(system: System) -> None:
    run_id = system.play("stable-mode", speed=10, faults=[{"kind": "drop", "every": 50}])
    until(lambda: [change.run_id for change in system.python.changes][-1:] == [run_id], 20, "scenario_changed")
    until(lambda: [body["run_id"] for body in system.node.bodies("onScenarioChanged")][-1:] == [run_id], 20, "onScenarioChanged")
    cycle = [(name, "missing_update") for name in ("gap", "resyncing", "live")]
    until(lambda: system.python.states.count(cycle[2]) >= 5, 30, lambda: f"five gaps: {system.python.states}")
    assert cycle in triples(system.python.states)
    system.check()


def triples(states: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """All runs of three changes."""
    return [states[start : start + 3] for start in range(len(states) - 2)]


@pytest.mark.slow
def test_clients_that_stall_during_an_extreme_spike_continue_with_a_good_book(system: System) -> None:
    system.play("extreme-spike")
    overflow = [(name, "overflow") for name in ("gap", "resyncing", "live")]
    until(lambda: overflow[2] in system.python.states, 60, lambda: f"an overflow: {system.python.states[-5:]}")
    assert overflow in triples(system.python.states)
    pids = [system.node.pid, *(program.pid for program in system.small)]
    with ExitStack() as stack:
        for pid in pids:
            stack.enter_context(stopped(pid))
        ended = time.monotonic() + STALL_SECONDS
        until(lambda: time.monotonic() > ended, 2 * STALL_SECONDS)
    newest = system.python.books[-1].seq
    until(lambda: system.node.bodies("onBook")[-1]["seq"] > newest, 60, "the books after the stall")
    system.await_books(50)
    system.check()
    assert all("not verified" not in line for line in system.small[1].lines)


def burst(system: System) -> None:
    """Let the system play a burst; wait until it is under way."""
    system.play("stable-mode", speed=20)
    system.await_books(30)


def await_stale(system: System, mark: int, seen: int) -> None:
    """Wait until both clients have received the state, after these numbers of items and states."""
    until(lambda: ("stale", "disconnected") in system.python.states[seen:], 20, lambda: f"the state: {system.python.states[seen:]}")
    until(lambda: "onBookState" in [name for name, _ in system.node.received[mark:]], 20, "the state in JavaScript")


def check_return(system: System, mark: int) -> None:
    """Check all messages; the first book after the state is a snapshot."""
    system.check()
    after = [name for name, _ in system.node.received[mark:] if name in ("onBookState", "onBookSnapshot", "onBookUpdate")]
    after = after[after.index("onBookState") :]
    assert after.index("onBookSnapshot") < after.index("onBookUpdate")


def test_kill_of_the_books_is_a_stale_book_then_a_snapshot(system: System) -> None:
    burst(system)
    mark, seen = len(system.node.received), len(system.python.states)
    with stopped(system.up.process.pid):  # the supervisor, which would start another one at once
        system.kill("books")
        killed = time.monotonic()
        await_stale(system, mark, seen)
        assert time.monotonic() - killed < 20  # 4 s by the page; the machine may be busy
    system.await_books(20)
    check_return(system, mark)


@pytest.mark.slow
def test_kill_of_the_hub_is_a_new_connection_with_a_snapshot(system: System) -> None:
    burst(system)
    system.kill("hub")
    until(lambda: system.node.bodies("onDisconnect"), 20, "the loss of the connection")
    system.await_books(30)
    system.check()


@pytest.mark.slow
def test_kill_of_redis_is_a_stale_book_then_a_snapshot(system: System) -> None:
    burst(system)
    mark, seen = len(system.node.received), len(system.python.states)
    with stopped(system.up.process.pid):  # the supervisor, which would start another one at once
        system.kill("redis")
        await_stale(system, mark, seen)
    system.await_books(30, 90)
    check_return(system, mark)


# a hub without a process of the books


@pytest.fixture(scope="module")
def shared_variables() -> dict[str, str]:
    return {"HEARTBEAT_INTERVAL": "60"}


def publish_live(bus: Bus) -> None:
    """Publish a live book, as the process of the books begins."""
    bus.publish_heartbeat(heartbeat({"BTCUSDT": "live"}))
    bus.publish_book_state(state("BTCUSDT", "live", "syncing"))
    bus.publish_books([message(1, starts=True)])


def wrong(messages: BookMessage) -> BookMessage:
    """The message with another checksum."""
    bodies = [None if body is None else {**body, "checksum": 7} for body in (messages.update, messages.snapshot)]
    assert bodies[1] is not None
    return messages._replace(update=bodies[0], snapshot=bodies[1])


def test_wrong_checksum_is_reported_and_the_book_is_requested_again(shared_hub: Web, shared_bus: Bus) -> None:
    publish_live(shared_bus)
    until(lambda: _has_book(shared_hub.url), 20, "the book in the hub")
    with Watcher(shared_hub.url) as watcher, node_watcher(shared_hub.url) as node:
        until(lambda: watcher.books and node.bodies("onBook"), 20, "the snapshot")
        shared_bus.publish_books([message(2)])
        shared_bus.publish_books([wrong(message(3))])
        marked = {(2, False)}
        until(lambda: marked <= {(book.seq, book.verified) for book in watcher.books}, 20, "the mark in Python")
        until(lambda: marked <= {(book["seq"], book["verified"]) for book in node.bodies("onBook")}, 20, "the mark in JavaScript")

        def healed(number: int) -> Callable[[], bool]:
            return lambda: all(each == (number, True) for each in newest())

        def newest() -> list[tuple[int, bool]]:
            last = node.bodies("onBook")[-1]
            return [(watcher.books[-1].seq, watcher.books[-1].verified), (last["seq"], last["verified"])]

        for number in range(4, 60):  # each message lets a client with a broken book request it, once a second
            shared_bus.publish_books([message(number)])
            try:
                until(healed(number), 0.4)
                break
            except AssertionError:
                continue
        assert {verified for _, verified in newest()} == {True}
        assert len(node.bodies("onBookResponse")) >= 1


def test_book_that_a_restarted_hub_does_not_have_yet_comes_later(hub: Web, bus: Bus, raw_redis: Redis, servers: Servers) -> None:
    publish_live(bus)
    until(lambda: _has_book(hub.url), 20, "the book in the hub")
    with Watcher(hub.url) as watcher, node_watcher(hub.url) as node:
        until(lambda: watcher.books and node.bodies("onBook"), 20, "the snapshot")
        old = watcher.books[-1].epoch
        hub.kill()
        raw_redis.flushall()
        bus.set_instruments(servers.calendars)
        hub.start()
        confirmed = node.wait("onSubscriptionConfirmed", 3)  # books, heartbeat
        assert [each.get("books") for each in node.bodies("onSubscriptionConfirmed")[1:3]] == [[], []], confirmed
        until(lambda: watcher.client.connected and watcher.client.get_subscriptions()["heartbeat"], 20, "the connection")
        publish_live(bus)
        until(lambda: watcher.books[-1].epoch != old, 20, "the book in Python")
        until(lambda: node.bodies("onBook")[-1]["epoch"] != old, 20, "the book in JavaScript")
