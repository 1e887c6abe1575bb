"""Our clients against a hub that ends sessions: no endless repetition, and gaps are filled."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tickwire_client import AsyncClient, Client, ConnectionFailed, Gap, Problem, Refused, Tick
from tickwire_client.aio import AsyncStream
from tickwire_client.stream import Stream

from tests.conformance.conftest import application
from tests.conftest import until
from tests.standins.ending_hub import MISSED, RETRY_AFTER, price
from tests.support.canned_http import canned
from tests.support.clients import FxNode, Rejected

DELAYS = (0.05, 0.2)  # seconds between attempts to connect again
HALF = "\ud83d"
BAD: dict[str, Any] = {
    "half a character": ["EUR_USD", HALF],
    "a message above maxPayload": ["X" * 70_000],
    "a value that is too deep": ["EUR_USD", json.loads("[" * 20 + "]" * 20)],
}


class EndingHub:
    """The stand-in as a process."""

    def __init__(self, url: str) -> None:
        self.url = url

    def count(self, name: str) -> int:
        with urllib.request.urlopen(f"{self.url}/counts", timeout=60) as answer:  # noqa: S310
            return int(json.load(answer).get(name, 0))


@contextmanager
def ending_hub(log: Path, **environ: str) -> Iterator[EndingHub]:
    with application(log, "tests.standins.ending_hub:create()", "/socket.io/", **environ) as server:
        yield EndingHub(f"http://{server.host}:{server.port}")
        assert "Traceback" not in log.read_text(), log.read_text()[-3000:]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndingHub]:
    with ending_hub(tmp_path_factory.mktemp("ending") / "hub.log") as hub:
        yield hub


class Outcome:
    """The error of a request, from any client."""

    def __init__(self, code: str, details: Mapping[str, Any]) -> None:
        self.code, self.details = code, dict(details)


def python_outcome(client: Client, pairs: list[Any]) -> Outcome:
    with pytest.raises(Refused) as refused:
        client.subscribe(pairs)
    return Outcome(refused.value.code, refused.value.details)


def js_outcome(client: FxNode, pairs: list[Any]) -> Outcome:
    with pytest.raises(Rejected) as rejected:
        client.call("subscribe", pairs)
    return Outcome(rejected.value.error["code"], rejected.value.error["details"])


# a request that ends the session


def test_js_request_that_ended_two_sessions_is_rejected(hub: EndingHub) -> None:
    with FxNode(hub.url) as client:
        client.call("connect")
        client.call("subscribe", ["EUR_USD"])
        before = hub.count("EUR_USD,END")
        outcome = js_outcome(client, ["EUR_USD", "END"])
        assert (outcome.code, outcome.details) == ("disconnected", {"attempts": 2})
        assert client.wait("onError", code="disconnected")["details"] == {"attempts": 2}
        seen = len(client.bodies("onPriceUpdate"))
        client.wait("onPriceUpdate", seen + 3)  # the other subscription goes on
        assert hub.count("EUR_USD,END") == before + 2


def test_python_request_that_ended_two_sessions_is_rejected(hub: EndingHub) -> None:
    with Client(hub.url, reconnect_delay=DELAYS) as client:
        stream = client.prices("EUR_USD")
        before = hub.count("GBP_USD,END")
        outcome = python_outcome(client, ["GBP_USD", "END"])
        assert (outcome.code, outcome.details) == ("disconnected", {"attempts": 2})
        last = [next(stream).seq for _ in range(5)][-1]
        assert until(lambda: next(stream).seq != last)
        assert hub.count("GBP_USD,END") == before + 2
        assert until(lambda: client.connected)
        assert client.get_subscriptions()["pairs"] == ["EUR_USD"]


def test_async_request_that_ended_two_sessions_is_rejected(hub: EndingHub) -> None:
    async def run() -> Outcome:
        async with AsyncClient(hub.url, reconnect_delay=DELAYS) as client:
            await client.subscribe("EUR_USD")
            with pytest.raises(Refused) as refused:
                await client.subscribe("END")
            assert (await client.get_subscriptions())["pairs"] == ["EUR_USD"]
            return Outcome(refused.value.code, refused.value.details)

    outcome = asyncio.run(run())
    assert (outcome.code, outcome.details) == ("disconnected", {"attempts": 2})


# a request that cannot be sent


@pytest.mark.parametrize("pairs", BAD.values(), ids=BAD)
def test_js_request_that_cannot_be_sent_is_rejected_at_once(hub: EndingHub, pairs: list[Any]) -> None:
    before = hub.count("connections")
    with FxNode(hub.url) as client:
        client.call("connect")
        outcome = js_outcome(client, pairs)
        assert outcome.code == "invalid_payload"
        assert set(outcome.details) <= {"pairs", "payload"}
        assert client.wait("onError", code="invalid_payload")
        assert client.bodies("onDisconnect") == []
        client.call("subscribe", ["EUR_USD"])
    assert hub.count("connections") == before + 1


@pytest.mark.parametrize("pairs", BAD.values(), ids=BAD)
@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_python_request_that_cannot_be_sent_is_refused_at_once(hub: EndingHub, kind: str, pairs: list[Any]) -> None:
    before = hub.count("connections")

    async def run() -> Outcome:
        async with AsyncClient(hub.url) as client:
            with pytest.raises(Refused) as refused:
                await client.subscribe(pairs)
            await client.subscribe("EUR_USD")
            return Outcome(refused.value.code, refused.value.details)

    if kind == "asyncio":
        outcome = asyncio.run(run())
    else:
        with Client(hub.url) as client:
            outcome = python_outcome(client, pairs)
            client.subscribe("EUR_USD")
    assert outcome.code == "invalid_payload"
    assert set(outcome.details) <= {"pairs", "payload"}
    assert hub.count("connections") == before + 1


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), 2**70])
def test_python_number_that_json_lacks_is_refused_with_its_field(hub: EndingHub, rate: float) -> None:
    with Client(hub.url) as client, pytest.raises(Refused) as refused:
        client.subscribe("EUR_USD", max_rate=rate)
    assert (refused.value.code, set(refused.value.details)) == ("invalid_payload", {"max_rate"})


# a hub that refuses or closes


def test_js_client_of_a_full_hub_tries_again_after_retry_after(tmp_path: Path) -> None:
    with ending_hub(tmp_path / "hub.log", FULL="2") as hub, FxNode(hub.url, reconnectionDelay=60_000) as client:
        assert client.call("connect")["client_id"]
        found = client.bodies("onError")
        assert [(error["code"], error["details"]["retry_after"]) for error in found] == [("server_full", RETRY_AFTER)] * 2
        assert all(RETRY_AFTER * 1000 <= error["details"]["retry_in_ms"] <= RETRY_AFTER * 1250 for error in found)


def test_python_client_of_a_full_hub_tries_again_after_retry_after(tmp_path: Path) -> None:
    with ending_hub(tmp_path / "hub.log", FULL="2") as hub, Client(hub.url, reconnect_delay=(60, 60)) as client:
        assert client.subscribe("EUR_USD")["added"] == ["EUR_USD"]
        assert hub.count("connections") == 3
    with ending_hub(tmp_path / "again.log", FULL="9", RETRY_AFTER="600") as hub, pytest.raises(ConnectionFailed) as failed:
        Client(hub.url, timeout=60).connect()
    assert (failed.value.code, failed.value.retry_after) == ("server_full", 600)


def test_js_client_that_floods_gets_the_error_and_waits(hub: EndingHub) -> None:
    with FxNode(hub.url) as client:
        client.call("connect")
        outcome = js_outcome(client, ["FLOOD"])
        assert outcome.code == "disconnected"
        found = [body for body in client.bodies("onError") if body["code"] == "too_many_requests"]
        assert [error["event"] for error in found] == ["disconnect"] * 2
        assert all(error["details"]["retry_in_ms"] >= 1000 for error in found)


def test_python_client_that_floods_gets_the_error(hub: EndingHub) -> None:
    client = Client(hub.url, reconnect_delay=DELAYS)
    problems: list[Problem] = []
    client.on_error(problems.append)
    with client:
        assert python_outcome(client, ["FLOOD"]).code == "disconnected"
        assert until(lambda: [problem.code for problem in problems] == ["too_many_requests"] * 2)


# gaps


def stored(seqs: Callable[[], range]) -> Callable[[Mapping[str, str]], dict[str, Any]]:
    """Return the answers of REST: the prices of these seqs."""

    def row(pair: str, seq: int) -> dict[str, Any]:
        body = price(pair, seq)
        known = {"symbol": pair, **body["price"], "received": body["timestamp"], "seq": seq, "epoch": body["epoch"]}
        return {**known, "volume": None, "source": "test"}

    return lambda query: {"ticks": [row(query["symbol"], seq) for seq in seqs()], "next_page_token": None}


def test_js_gap_of_a_resumption_is_reported_and_then_filled_from_rest(hub: EndingHub) -> None:
    with canned(stored(lambda: range(1, 20_000))) as url, FxNode(hub.url, restUrl=url, fillTimeout=60_000) as client:
        client.call("connect")
        client.call("subscribe", ["EUR_USD"])
        client.wait("onPriceUpdate", 2)
        js_outcome(client, ["END"])
        client.wait("onGap", 2)
        gaps = client.bodies("onGap")
        assert [gap["reason"] for gap in gaps] == ["not_recovered"] * 2
        assert all(gap["missed"] >= MISSED and "resumed" not in gap for gap in gaps)
        end = gaps[-1]["to"]["seq"]
        client.wait("onPriceUpdate", seq=end + 2)
        seqs = client.seqs()
        assert all(after == before + 1 for before, after in pairwise(seqs[seqs.index(gaps[0]["from"]["seq"]) :]))
        filled = [body["seq"] for body in client.bodies("onPriceUpdate") if body["replayed"]]
        assert set(filled) >= set(range(end - MISSED, end + 1))
        assert client.received.index(("onGap", gaps[0])) < min(
            at for at, (name, body) in enumerate(client.received) if name == "onPriceUpdate" and body["replayed"]
        )


def test_js_gap_that_rest_cannot_fill_is_reported_again(hub: EndingHub) -> None:
    with canned(stored(lambda: range(0))) as url, FxNode(hub.url, restUrl=url, fillTimeout=2000) as client:
        client.call("connect")
        client.call("subscribe", ["EUR_USD"])
        client.wait("onPriceUpdate", 2)
        js_outcome(client, ["END"])
        last = client.wait("onGap", 2, reason="not_recovered")
        assert client.wait("onGap", 2, reason="not_stored")["missed"] == last["missed"]
        client.wait("onPriceUpdate", seq=last["to"]["seq"] + 2)


def test_js_gap_without_rest_delays_no_price(hub: EndingHub) -> None:
    with FxNode(hub.url, restUrl="http://127.0.0.1:9") as client:
        client.call("connect")
        client.call("subscribe", ["EUR_USD"])
        client.wait("onPriceUpdate", 2)
        js_outcome(client, ["END"])
        gap = client.wait("onGap", 2, reason="not_recovered")
        client.wait("onPriceUpdate", seq=gap["to"]["seq"] + 2)
        assert {each["reason"] for each in client.bodies("onGap")} == {"not_recovered"}


@pytest.mark.parametrize("kept", [True, False], ids=["stored", "not-stored"])
def test_python_gap_of_a_resumption_is_reported_and_then_filled_from_rest(
    hub: EndingHub, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickwire_client.gap_filler.FILL_SECONDS", 60.0 if kept else 0.3)
    history = canned(stored(lambda: range(1, 20_000) if kept else range(0)))
    with history as url, Client(hub.url, rest_url=url, reconnect_delay=DELAYS) as client:
        stream = client.prices("EUR_USD", gaps=True)
        items: list[Tick | Gap] = [next(stream) for _ in range(3)]
        python_outcome(client, ["END"])
        while sum(isinstance(item, Tick) and item.snapshot for item in items) < 2:
            items.append(next(stream))
    first = next(at for at, item in enumerate(items) if isinstance(item, Gap))
    gap, after, before = items[first], items[first - 1], next(item for item in items[first:] if isinstance(item, Tick) and item.snapshot)
    assert isinstance(gap, Gap)
    assert isinstance(after, Tick)
    assert (gap.reason, gap.after, gap.before) == ("not_recovered", after, before)
    if kept:
        inside = items[first + 1 : items.index(before)]
        assert [item.seq for item in inside if isinstance(item, Tick)] == list(range((after.seq or 0) + 1, before.seq or 0))
    else:
        assert items[first + 1] == Gap("EUR_USD", gap.missed, "not_stored")
        assert items[first + 2] == before


def test_async_stream_cancelled_at_any_step_loses_no_item() -> None:
    def tick(seq: int) -> Gap:
        return Gap("EUR_USD", seq, "test")

    async def run() -> list[int | None]:
        source: Stream[Gap] = Stream(lambda item: True, 10_000)

        async def begin() -> Stream[Gap]:
            return source

        stream, found = AsyncStream(begin), list[int | None]()
        for seq in range(450):
            source.put(tick(seq))
        while len(found) < 450:
            step = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            step.cancel()  # has no effect on a step that has returned its item
            try:
                found.append((await step).missed)
            except asyncio.CancelledError:
                found.append((await anext(stream)).missed)
        return found

    assert asyncio.run(run()) == list(range(450))
