"""Many light Socket.IO clients in one thread, each of which resumes with `since`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
import websockets
from websockets.asyncio.client import ClientConnection, connect

_PATH = "/socket.io/?EIO=4&transport=websocket"
_FAILED_PAUSE_SECONDS = 0.2
_CLIENTS_PER_ADDRESS = 10  # proxies limit the handshakes of one address


class Return(NamedTuple):
    """One end of a connection with `unavailable`, and the return. Times are monotonic."""

    client: int
    retry_after: float
    closed: float
    back: float


class Member:
    """One client, which holds one instrument."""

    def __init__(self, number: int, pair: str) -> None:
        self.number = number
        self.pair = pair
        self.seqs: list[int] = []  # of its prices, in the order of arrival
        self.position: dict[str, Any] | None = None
        self.unrecovered = 0
        self.held = False
        self.returns: list[Return] = []
        self.retry_after: float | None = None
        self.closed = 0.0

    def received(self, event: str, body: Any) -> None:
        if event == "price_update":
            self.seqs.append(body["seq"])
            self.position = {"epoch": body["epoch"], "seq": body["seq"]}
        elif event == "subscription_confirmed":
            self.unrecovered += list(body["recovered"].values()).count(False)
            self.held = True
            if self.retry_after is not None:
                self.returns.append(Return(self.number, self.retry_after, self.closed, time.monotonic()))
                self.retry_after = None
        elif event == "error" and body["code"] == "unavailable":
            self.retry_after = body["details"]["retry_after"]

    @property
    def request(self) -> dict[str, Any]:
        """The payload of `subscribe`."""
        return {"pairs": [self.pair], **({"since": {self.pair: self.position}} if self.position else {})}


class Swarm:
    """Clients of one address, over WebSocket. The end of the `with` block closes them."""

    def __init__(self, port: int, pairs: Sequence[str], clients: int) -> None:
        self._url = f"ws://127.0.0.1:{port}{_PATH}"
        self.members = [Member(number, pairs[number % len(pairs)]) for number in range(clients)]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(self._keep(member)) for member in self.members]
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, member: Member) -> None:
        """Connect, and connect again after `retry_after`."""
        address = f"127.0.1.{1 + member.number // _CLIENTS_PER_ADDRESS}"
        while True:
            try:
                async with connect(self._url, local_addr=(address, 0), compression=None, ping_interval=None) as link:
                    await self._converse(member, link)
            except (OSError, websockets.WebSocketException):
                pass
            member.held = False
            member.closed = time.monotonic()
            await asyncio.sleep(_FAILED_PAUSE_SECONDS if member.retry_after is None else member.retry_after)

    async def _converse(self, member: Member, link: ClientConnection) -> None:
        async for text in link:
            assert isinstance(text, str)
            if text == "2":
                await link.send("3")
            elif text.startswith("0"):
                await link.send("40")
            elif text.startswith("42"):
                event, body = orjson.loads(text[2:])
                member.received(event, body)
                if event == "connection_established":
                    await link.send("42" + orjson.dumps(["subscribe", member.request]).decode())
