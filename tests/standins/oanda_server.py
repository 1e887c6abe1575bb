"""The process of `tests.standins.oanda`: an HTTP server with OANDA's v20 API and faults on command.

Its argument is a JSON object with the fields of `Config`. It prints its port and ends when its
standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from db.timestamps import parse_time
from tests.standins.oanda_candles import Refusal, candles_answer
from tests.standins.oanda_http import JSON, Answer, Listener, Request, read_request, refused, send
from tests.standins.oanda_market import Market, Quote, api_time, price_line, unsorted_offers

_ACCOUNT = re.compile(r"\d{3}-\d{3}-\d{1,10}-\d{3}")
_BODIES = {
    401: "Insufficient authorization to perform request.",
    403: "The provided request was forbidden.",
    404: "Not found.",
}


@dataclass(frozen=True, slots=True)
class Config:
    """The arguments of the server; `OandaStandIn` explains them."""

    token: str
    account: str
    quotes: list[tuple[str, str]]
    candles: list[tuple[str, str, str]]
    speed: float | None
    heartbeat: float
    wait: bool
    now: str | None
    port: int


class Server:
    """The service, in one event loop."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._market = Market()
        self._market.load_quotes((name, Path(file)) for name, file in config.quotes)
        self._market.load_candles((name, granularity, Path(file)) for name, granularity, file in config.candles)
        self._now = None if config.now is None else parse_time(config.now)
        self._position = 0  # number of played quotes
        self._current: dict[str, Quote] = {}
        self._listeners: list[Listener] = []
        self._paused = False
        self._cut_next = False
        self._planned: list[tuple[int, dict[str, Any]]] = []  # (position, command)
        self._refusals: list[dict[str, Any]] = []
        self._repeats = 0
        self._unsorted = False
        self._bad_candles: dict[tuple[str, str], dict[str, Any]] = {}  # (granularity, time) -> changed fields
        self._last_candles: Answer | None = None
        self._counts: Counter[str] = Counter()
        self._newest: list[str] = []  # instruments of the newest stream

    async def run(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self._config.port)
        print(server.sockets[0].getsockname()[1], flush=True)
        await self._play()
        await server.serve_forever()

    # the market

    async def _play(self) -> None:
        """Play the recorded quotes in order, at the configured speed."""
        loop = asyncio.get_running_loop()
        origin: tuple[datetime, float] | None = None
        while self._position < len(self._market.quotes):
            if self._paused or (self._config.wait and not self._active()):
                origin = None
                await asyncio.sleep(0.02)
                continue
            quote = self._market.quotes[self._position]
            origin = origin or (quote.time, loop.time())
            if self._config.speed is not None:
                delay = origin[1] + (quote.time - origin[0]).total_seconds() / self._config.speed - loop.time()
                if delay > 0:
                    await asyncio.sleep(min(delay, 0.05))
                    continue
            await self._happen(quote)
            while self._planned and self._planned[0][0] <= self._position:
                self._do(self._planned.pop(0)[1])

    async def _happen(self, quote: Quote) -> None:
        self._position += 1
        self._current[quote.instrument] = quote
        line = self._price(quote)
        for listener in self._active():
            if quote.instrument in listener.instruments:
                if self._cut_next:
                    listener.send(line[: len(line) // 2])
                    listener.close()
                    continue
                self._counts["sent"] += 1
                listener.send(line)
                try:
                    await listener.writer.drain()
                except ConnectionError:
                    listener.close()
        self._cut_next = False
        await asyncio.sleep(0)

    def _price(self, quote: Quote) -> bytes:
        message = price_line(quote)
        if self._unsorted:
            for side, step in (("bids", -3), ("asks", 3)):
                message[side] = unsorted_offers(message[side], step)
        return _line(message)

    def _active(self) -> list[Listener]:
        return [listener for listener in self._listeners if not listener.stalled and not listener.gone.is_set()]

    def _moment(self) -> datetime:
        """Return the set time, or the last quote's time, or (after all quotes) the real time."""
        if self._now is not None:
            return self._now
        if self._position < len(self._market.quotes):
            return self._market.quotes[max(0, self._position - 1)].time
        return datetime.now(UTC)

    # the pricing stream

    async def _stream(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        instruments = frozenset(request.query.get("instruments", "").split(","))
        if any(not re.fullmatch(r"[A-Z]{3}_[A-Z]{3}", name) for name in instruments):
            return await send(writer, refused(400, "Invalid value specified for 'instruments'"))
        self._counts["streams"] += 1
        self._newest = sorted(instruments)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        listener = Listener(writer, instruments)
        for name in sorted(instruments & self._current.keys()):
            self._counts["snapshots"] += 1
            listener.send(self._price(self._current[name]))
        self._listeners.append(listener)
        tasks = [asyncio.create_task(each) for each in (self._beat(listener), listener.gone.wait(), reader.read(1))]
        try:
            await asyncio.wait(tasks[1:], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._listeners.remove(listener)
            for task in tasks:
                task.cancel()
            listener.close()
        return None

    async def _beat(self, listener: Listener) -> None:
        while True:
            await asyncio.sleep(self._config.heartbeat)
            if not listener.stalled:
                listener.send(_line({"type": "HEARTBEAT", "time": api_time(self._moment())}))

    # requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await read_request(reader)) is not None:
                answer = self._answer(request)
                if answer is None:
                    return await self._stream(request, reader, writer)
                await send(writer, answer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, request: Request) -> Answer | None:
        """Return the whole response, or None if the response is the stream."""
        if request.path == "/_state":
            return 200, JSON, json.dumps(self._state()).encode()
        if request.path == "/_control":
            return self._control(json.loads(request.body))
        streams = request.path.endswith("/pricing/stream")
        kind = "stream" if streams else "candles"
        self._counts[f"{kind} requests"] += 1
        if (refusal := self._refusal(kind)) is not None:
            return refusal
        if request.headers.get("authorization") != f"Bearer {self._config.token}":
            return refused(401, _BODIES[401])
        if streams:
            return self._wrong_account(request.path.split("/")[3])
        if found := re.fullmatch(r"/v3/instruments/([^/]+)/candles", request.path):
            return self._candles(found[1], request.query)
        return refused(404, _BODIES[404])

    def _wrong_account(self, account: str) -> Answer | None:
        if not _ACCOUNT.fullmatch(account):
            return refused(400, "Invalid value specified for 'accountID'")
        return None if account == self._config.account else refused(403, _BODIES[403])

    def _candles(self, instrument: str, query: dict[str, str]) -> Answer:
        if self._repeats and self._last_candles is not None:
            self._repeats -= 1
            return self._last_candles
        try:
            answer = candles_answer(self._market, instrument, query, self._moment())
        except Refusal as refusal:
            return refused(400, str(refusal))
        granularity = query.get("granularity", "S5")
        answer["candles"] = [self._candle(granularity, candle) for candle in answer["candles"]]
        self._last_candles = 200, JSON, json.dumps(answer, separators=(",", ":")).encode()
        return self._last_candles

    def _candle(self, granularity: str, candle: dict[str, Any]) -> dict[str, Any]:
        changed = {**candle, **self._bad_candles.get((granularity, candle["time"]), {})}
        return {name: value for name, value in changed.items() if value is not None}

    def _refusal(self, kind: str) -> Answer | None:
        for planned in self._refusals:
            if planned.get("path") in (None, kind):
                self._counts["refused"] += 1
                planned["times"] -= 1
                if not planned["times"]:
                    self._refusals.remove(planned)
                more = {} if planned.get("retry_after") is None else {"Retry-After": str(planned["retry_after"])}
                return refused(planned["status"], _BODIES.get(planned["status"], ""), more)
        return None

    # commands

    def _state(self) -> dict[str, Any]:
        names = ("streams", "sent", "snapshots", "refused", "stream requests", "candles requests")
        counts = {name.replace(" ", "_"): self._counts[name] for name in names}
        over = self._position == len(self._market.quotes)
        market = {"position": self._position, "quotes": len(self._market.quotes), "over": over}
        return {**counts, **market, "open": len(self._listeners), "asked": self._newest}

    def _control(self, command: dict[str, Any]) -> Answer:
        if (after := command.pop("after", None)) is not None:
            self._planned.append((self._position + after, command))
            self._planned.sort(key=lambda each: each[0])
        else:
            self._do(command)
        return 200, JSON, b"{}"

    def _do(self, command: dict[str, Any]) -> None:
        match command["do"]:
            case "drop" | "reset" as kind:
                for listener in list(self._listeners):
                    listener.close(rudely=kind == "reset")
            case "end":
                for listener in self._active():
                    listener.writer.write(b"0\r\n\r\n")
                    listener.close()
            case "stall":
                for listener in self._listeners:
                    listener.stalled = True
            case "half":
                self._cut_next = True
            case "say":
                for listener in self._active():
                    listener.send(command["text"].encode())
            case "refuse":
                self._refusals.append({"times": 1, **command})
            case "repeat_page":
                self._repeats = command.get("times", 1)
            case "buckets":
                self._unsorted = command.get("on", True)
            case "bad_candle":
                self._bad_candles[command.get("granularity", "H1"), api_time(parse_time(command["time"]))] = command["changes"]
            case "pause" | "resume" as kind:
                self._paused = kind == "pause"
            case "now":
                self._now = None if command["time"] is None else parse_time(command["time"])
            case unknown:
                raise ValueError(f"unknown command: {unknown}")


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(Server(Config(**json.loads(sys.argv[1]))).run())
