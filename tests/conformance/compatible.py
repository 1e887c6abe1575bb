"""All supported clients by name: each version of each library over each transport."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Any, Protocol, Self

import socketio

from tests.conftest import until
from tests.support.clients import NodeClient, PythonClient, Recorder
from tests.support.processes import ROOT

_DRIVER = ROOT / "tests/js/compat/client.mjs"

TRANSPORTS = {"websocket": ["websocket"], "polling": ["polling"], "upgrade": ["polling", "websocket"]}
PACKAGES = ("sio-4", "sio-4-oldest", "sio-3", "sio-3-oldest")  # names in tests/js/compat/package.json
HAS_AIOHTTP = find_spec("aiohttp") is not None  # provides the transports of python-socketio's asyncio client


class Client(Protocol):
    """The methods of a client that tests use, besides `Recorder`."""

    received: list[tuple[str, Any]]

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def bodies(self, event: str) -> list[Any]: ...
    def wait(self, event: str, count: int = 1, where: Callable[[Any], bool] = lambda body: True, seconds: float = 20) -> Any: ...
    def seqs(self, instrument: str = "EUR_USD") -> list[int]: ...
    def emit(self, event: str, *payload: Any) -> None: ...
    def call(self, event: str, *payload: Any) -> Any: ...
    def transport(self) -> str: ...
    def follow(self, *pairs: str) -> None:
        """Subscribe now, and again after every reconnect with the last position."""


class Node(NodeClient):
    """socket.io-client of the version installed under the name `package`."""

    def __init__(self, package: str, url: str, transports: Sequence[str], **options: Any) -> None:
        self.driver = (str(_DRIVER), package)
        super().__init__(url, transports, **options)

    def transport(self) -> str:
        before = len(self.bodies("transport"))
        self._command(transport=True)
        return str(self.wait("transport", before + 1))

    def follow(self, *pairs: str) -> None:
        self._command(follow=pairs)

    def _command(self, **command: Any) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(command) + "\n")
        self._popen.stdin.flush()


class _Positions:
    """The last message of each instrument, and the request to send after a reconnect."""

    def __init__(self) -> None:
        self.pairs: tuple[str, ...] = ()
        self._since: dict[str, dict[str, Any]] = {}

    def begin(self, pairs: tuple[str, ...]) -> dict[str, Any]:
        """Follow these instruments from now on; return the request to send."""
        self.pairs, self._since = pairs, {}
        return self.question()

    def note(self, update: dict[str, Any]) -> None:
        if "seq" in update:
            self._since[update["instrument"]] = {"epoch": update["epoch"], "seq": update["seq"]}

    def question(self) -> dict[str, Any]:
        return {"pairs": list(self.pairs), "since": dict(self._since)}


class Python(PythonClient):
    """python-socketio's blocking client."""

    def __init__(self, url: str, transports: Sequence[str], *, reconnection: bool = True) -> None:
        super().__init__(url, transports, reconnection=reconnection)
        self._positions = _Positions()
        self._client.on("connection_established", self._greeted)
        self._client.on("price_update", self._updated)

    def _greeted(self, hello: Any) -> None:
        self.received.append(("connection_established", hello))
        if self._positions.pairs:
            self._client.emit("subscribe", self._positions.question())

    def _updated(self, update: Any) -> None:
        self.received.append(("price_update", update))
        self._positions.note(update)

    def transport(self) -> str:
        return str(self._client.transport())

    def follow(self, *pairs: str) -> None:
        self._client.emit("subscribe", self._positions.begin(pairs))


class AsyncPython(Recorder):
    """python-socketio's asyncio client, in a loop of its own thread.

    It handles messages in the order in which they come.
    """

    def __init__(self, url: str, transports: Sequence[str], *, reconnection: bool = True) -> None:
        super().__init__()
        self._url, self._transports = url, list(transports)
        self._positions = _Positions()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self._run(self._make(reconnection))

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    async def _make(self, reconnection: bool) -> Any:
        client = socketio.AsyncClient(reconnection=reconnection, reconnection_delay=0.1, reconnection_delay_max=0.5)

        async def heard(event: str, *bodies: Any) -> None:
            self.received.append((event, bodies[0] if bodies else None))
            if event == "price_update":
                self._positions.note(bodies[0])
            elif event == "connection_established" and self._positions.pairs:
                await client.emit("subscribe", self._positions.question())

        def hearing(event: str) -> Callable[..., Coroutine[Any, Any, None]]:
            async def listen(*bodies: Any) -> None:
                await heard(event, *bodies)

            return listen

        client.on("*", heard)
        for event in ("connect", "disconnect", "connect_error"):
            client.on(event, hearing(event))
        return client

    def __enter__(self) -> Self:
        self.connect()
        return self

    def connect(self) -> None:
        self._run(self._client.connect(self._url, transports=self._transports, wait_timeout=60))
        self.wait("connection_established")

    def emit(self, event: str, *payload: Any) -> None:
        self._run(self._client.emit(event, payload if len(payload) != 1 else payload[0]))

    def call(self, event: str, *payload: Any) -> Any:
        """Emit and return the ack's body."""
        return self._run(self._client.call(event, payload if len(payload) != 1 else payload[0], timeout=60))

    def transport(self) -> str:
        return str(self._client.transport())

    def follow(self, *pairs: str) -> None:
        self.emit("subscribe", self._positions.begin(pairs))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._run(self._client.disconnect())
        until(lambda: not self._client.connected)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


def make(kind: str, url: str, *, reconnection: bool = True) -> Client:
    """Return the client of this kind, `LIBRARY/TRANSPORT`.

    A client on Node connects at once, the others when they are entered.
    """
    library, transport = kind.split("/")
    if library in PACKAGES:
        return Node(library, url, TRANSPORTS[transport], reconnection=reconnection)
    return make_python(kind, url, reconnection=reconnection)


def make_python(kind: str, url: str, *, reconnection: bool = True) -> Python | AsyncPython:
    """Return the client of python-socketio of this kind."""
    library, transport = kind.split("/")
    kinds: dict[str, type[Python] | type[AsyncPython]] = {"python": Python, "python-asyncio": AsyncPython}
    return kinds[library](url, TRANSPORTS[transport], reconnection=reconnection)


def runs_here(kind: str) -> bool:
    """Return True if the packages of this client are installed."""
    return HAS_AIOHTTP or not kind.startswith("python-asyncio")


KINDS = [f"{library}/{transport}" for library in (*PACKAGES, "python", "python-asyncio") for transport in TRANSPORTS]
