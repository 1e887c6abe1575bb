"""The WebSocket server of the stand-in: a market clock, and links that lag, stall and break."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from operator import attrgetter
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from tests.standins.binance_market import Market, combined

# market -> paths of combined streams; futures have no books outside /public since 2026-04-23
STREAM_PATHS = {"spot": ("/stream",), "usdm": ("/public/stream",)}
CHUNK = 500  # messages in one write
_STEP_SECONDS = 0.004  # between two steps of a market that plays
_IDLE_SECONDS = 0.03  # ... that waits for a client or a command, or is over
GARBAGE = (
    b"not json",
    b"[1,2]",
    b"\xff\xfe",
    b"[" * 2000,
    b'{"stream":"btcusdt@trade","data":null}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT"}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"-1.0","q":"1","T":1723161255342,"m":true}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"1e30","q":"1","T":1723161255342,"m":true}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"NOBODY","t":1,"p":"1","q":"1","T":1723161255342,"m":true}}',
    b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":"1","p":"1","q":"1","T":1723161255342,"m":true}}',
    b'{"stream":"btcusdt@bookTicker","data":{"s":"BTCUSDT","b":"1"}}',
)


@dataclass(slots=True)
class Refusals:
    """The next `count` requests are refused with `status`."""

    count: int = 0
    status: int = 503
    retry_after: float | None = None

    def take(self) -> bool:
        """Count one request; return whether to refuse it."""
        taken = self.count > 0
        self.count -= taken
        return taken


@dataclass(eq=False, slots=True)
class Link:
    """One client; `cursor` is the place of its next message."""

    connection: ServerConnection
    wanted: frozenset[str]
    micro: bool
    cursor: int
    stalled: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Streams:
    """Plays the market to all clients.

    `speed` is market seconds per second. None is as fast as the slowest client reads, and
    `missed_rate` messages per second without a client.
    """

    def __init__(
        self, market: Market, *, speed: float | None, missed_rate: float, waits: bool, micro: bool, ping_interval: float | None
    ) -> None:
        self.market = market
        self.speed = speed
        self.micro = micro
        self.position = 0
        self.playing = False
        self.refusals = Refusals()
        self.links: set[Link] = set()
        self.handshakes = 0
        self.sent = 0
        self._waits = waits
        self._missed_rate = missed_rate
        self._ping_interval = ping_interval
        self._elapsed = 0.0  # market seconds
        self._instead: dict[int, bytes] = {}  # place -> frames that replace the message's own
        self._progress = asyncio.Event()

    # the server

    async def listen(self, port: int) -> Server:
        """Serve on the loopback; port 0 is any free one."""
        return await serve(
            self._serve,
            "127.0.0.1",
            port,
            process_request=self._handshake,
            compression=None,
            ping_interval=self._ping_interval,
            ping_timeout=60,
            close_timeout=1,
        )

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes += 1
        if self.refusals.take():
            response = connection.respond(HTTPStatus(self.refusals.status), "no")
            if self.refusals.retry_after is not None:
                response.headers["Retry-After"] = f"{self.refusals.retry_after:g}"
            return response
        if urlsplit(request.path).path not in STREAM_PATHS[self.market.kind]:
            return connection.respond(HTTPStatus.NOT_FOUND, "not found")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        query = parse_qs(urlsplit(connection.request.path).query)
        wanted = frozenset("/".join(query.get("streams", [])).split("/"))
        link = Link(connection, wanted, query.get("timeUnit", [""])[0].upper() == "MICROSECOND", self.position)
        self.links.add(link)
        self.playing = self.playing or not self._waits
        sender = asyncio.create_task(self._send_all(link))
        try:
            await connection.wait_closed()
        finally:
            self.links.discard(link)
            self._progress.set()
            sender.cancel()

    async def _send_all(self, link: Link) -> None:
        while True:
            while link.cursor < self.position and not link.stalled:
                end = min(link.cursor + CHUNK, self.position)
                begin, link.cursor = link.cursor, end
                if link.connection.state is not State.OPEN:
                    return
                link.connection.transport.write(self._frames(link, begin, end))
                await link.connection.drain()
            self._progress.set()
            await link.wake.wait()
            link.wake.clear()

    def _frames(self, link: Link, begin: int, end: int) -> bytes:
        micro, wanted = self.micro or link.micro, link.wanted
        parts = []
        for place in range(begin, end):
            entry = self.market.entries[place]
            if entry.stream in wanted:
                # A million frames are too slow with the library; a server's text frames need no
                # mask and no state.
                parts.append(self._instead[place] if place in self._instead else frame(entry.text(micro)))
        self.sent += len(parts)
        return b"".join(parts)

    # time

    async def play(self) -> None:
        """Advance the market until the process ends."""
        before = time.monotonic()
        while True:
            now = time.monotonic()
            if self.playing:
                self._pass(now - before)
            before = now
            for link in self.links:
                if link.cursor < self.position:
                    link.wake.set()
            await self._next_step()

    def _pass(self, seconds: float) -> None:
        entries = self.market.entries
        if self.speed is not None:
            self._elapsed += seconds * self.speed
            due = bisect_right(entries, self._elapsed, key=attrgetter("due"))
            self.position = max(self.position, due)
        elif not self._live():
            self._elapsed += seconds
            passed = int(self._elapsed * self._missed_rate)
            self._elapsed -= passed / self._missed_rate
            self.position = min(len(entries), self.position + passed)
        elif self._caught_up():
            self.position = min(len(entries), self.position + CHUNK)

    async def _next_step(self) -> None:
        self._progress.clear()
        if self.speed is None and self.playing and self._live() and self.position < len(self.market.entries):
            if self._caught_up():
                await asyncio.sleep(0)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._progress.wait(), 0.05)
            return
        is_over = self.position == len(self.market.entries)
        await asyncio.sleep(_IDLE_SECONDS if is_over or not self.playing else _STEP_SECONDS)

    def _live(self) -> list[Link]:
        return [link for link in self.links if not link.stalled]

    def _caught_up(self) -> bool:
        return all(link.cursor >= self.position for link in self._live())

    def jump(self, position: int) -> None:
        """Go to a place at once; every client misses the messages before it."""
        self.position = len(self.market.entries) if position < 0 else min(position, len(self.market.entries))
        if self.speed is not None and self.position:
            self._elapsed = max(self._elapsed, self.market.entries[self.position - 1].due)
        for link in self.links:
            link.cursor = self.position

    # faults

    def drop(self) -> None:
        """Reset every connection."""
        for link in list(self.links):
            raw = link.connection.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            link.connection.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        """Close every connection with a close frame."""
        await asyncio.gather(*(link.connection.close(code, reason) for link in list(self.links)))

    async def announce_shutdown(self, seconds: float, wrapped: bool) -> None:
        """Send `serverShutdown`; close the remaining connections after `seconds`."""
        event = {"e": "serverShutdown", "E": int(time.time() * 1000)}
        links = list(self.links)
        self.send_text(combined("!serverShutdown", event) if wrapped else combined("", event)[len(b'{"stream":"","data":') : -1])
        await asyncio.sleep(seconds)
        await asyncio.gather(*(link.connection.close(1001, "server shutdown") for link in links))

    def stall(self, frozen: bool) -> None:
        """Stop sending on the open connections; if `frozen`, stop reading too (no pong)."""
        for link in self.links:
            link.stalled = True
            if frozen:
                link.connection.transport.pause_reading()
        self._progress.set()

    def resume(self) -> None:
        """End the stall; the clients miss the messages of the stall."""
        for link in self.links:
            if link.stalled:
                link.stalled, link.cursor = False, self.position
                link.connection.transport.resume_reading()

    def send_text(self, body: bytes) -> None:
        """Send one text frame with any content to every client, now."""
        for link in self.links:
            link.connection.transport.write(frame(body))

    def skip(self, places: Sequence[int]) -> None:
        """Leave the messages out of the stream."""
        for place in places:
            self._instead[place] = b""

    def halve(self, places: Sequence[int]) -> None:
        """Send only the first half of each message's text."""
        for place in places:
            body = self.market.entries[place].body
            self._instead[place] = frame(body[: len(body) // 2])

    def repeat(self, places: Sequence[int]) -> None:
        """Send each message twice."""
        for place in places:
            self._instead[place] = 2 * frame(self.market.entries[place].text(self.micro))

    def reorder(self, places: Sequence[int]) -> None:
        """Send the messages in reverse order."""
        for place, other in zip(places, reversed(places), strict=True):
            self._instead[place] = frame(self.market.entries[other].text(self.micro))

    def replace(self, place: int, body: bytes) -> None:
        """Send another text."""
        self._instead[place] = frame(body)


def frame(body: bytes) -> bytes:
    """Return one unmasked text frame."""
    size = len(body)
    if size < 126:
        return b"\x81" + bytes((size,)) + body
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + body
    return Frame(Opcode.TEXT, body).serialize(mask=False)
