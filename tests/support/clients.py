"""Clients that record messages in the order of arrival: stock ones and our JavaScript client."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import socketio

from tests.conftest import until

_JAVASCRIPT = Path(__file__).parents[1] / "js"

Received = tuple[str, Any]  # event or handler, body

_STATS_SECONDS = 0.12  # between two get_server_stats of a client: each costs 5 of its 50 tokens a second


def node() -> str:
    """Return the path of Node; `make test` installs it if the machine has none."""
    found = shutil.which("node")
    assert found is not None, "Node is needed for the JavaScript client; `make test` installs one"
    return found


class Pace:
    """Keep a distance between the requests of one client that are costly to the hub."""

    def __init__(self) -> None:
        self._next = 0.0  # monotonic

    def keep(self) -> None:
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + _STATS_SECONDS


class Recorder(ABC):
    """The messages that a client received, in the order of arrival; an ack is named `ack:EVENT`."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._pace = Pace()

    @abstractmethod
    def call(self, event: str, *payload: Any) -> Any:
        """Emit and return the ack's body."""

    def stats(self) -> Any:
        """Return the body of `server_stats`, at a pace that the hub never limits."""
        self._pace.keep()
        return self.call("get_server_stats")

    def bodies(self, event: str) -> list[Any]:
        return [body for name, body in list(self.received) if name == event]

    def wait(self, event: str, count: int = 1, where: Callable[[Any], bool] = lambda body: True, seconds: float = 20) -> Any:
        """Wait for the `count`th body of `event` that satisfies `where`, and return it."""

        def there() -> list[Any] | None:
            bodies = [body for body in self.bodies(event) if where(body)]
            return bodies if len(bodies) >= count else None

        try:
            bodies = until(there, seconds)
        except AssertionError:
            raise AssertionError(f"no {event} number {count}; received: {self.received[:6]} … {self.received[-6:]}") from None
        assert isinstance(bodies, list)
        return bodies[count - 1]

    def seqs(self, instrument: str = "EUR_USD") -> list[int]:
        """Return the `seq` of each price_update of the instrument, in the order of arrival."""
        return [body["seq"] for body in self.bodies("price_update") if body["instrument"] == instrument and "seq" in body]


class PythonClient(Recorder):
    """python-socketio's client over one transport (`websocket`, `polling`) or both (upgrade).

    It joins one namespace. `path` is that of Socket.IO, for a hub below a path of a proxy.
    """

    def __init__(
        self,
        url: str,
        transports: Sequence[str] = ("websocket",),
        *,
        reconnection: bool = False,
        namespace: str = "/",
        path: str = "socket.io",
    ) -> None:
        super().__init__()
        self.namespace = namespace
        self._path = path
        self._client = socketio.Client(reconnection=reconnection, reconnection_delay=0.1, reconnection_delay_max=0.5)
        self._url, self._transports = url, list(transports)
        # The client handles each message in a thread of its own, so in any order. In the reader's
        # thread, the order is that of arrival.
        trigger = self._client.eio._trigger_event

        def in_order(event: str, *arguments: Any, run_async: bool = False, **options: Any) -> Any:
            return trigger(event, *arguments, run_async=run_async and event != "message", **options)

        self._client.eio._trigger_event = in_order
        self._client.on("*", lambda event, *bodies: self.received.append((event, bodies[0] if bodies else None)), namespace)
        for event in ("connect", "disconnect", "connect_error"):
            self._client.on(event, lambda *bodies, event=event: self.received.append((event, bodies[0] if bodies else None)), namespace)

    def __enter__(self) -> Self:
        self.connect()
        return self

    def connect(self, auth: Any = None) -> None:
        self._client.connect(
            self._url, transports=self._transports, auth=auth, namespaces=[self.namespace], socketio_path=self._path, wait_timeout=60
        )
        if self.namespace == "/":
            self.wait("connection_established")

    def emit(self, event: str, *payload: Any) -> None:
        self._client.emit(event, payload if len(payload) != 1 else payload[0], self.namespace)

    def call(self, event: str, *payload: Any) -> Any:
        """Emit and return the ack's body."""
        return self._client.call(event, payload if len(payload) != 1 else payload[0], self.namespace, timeout=60)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()


class NodeClient(Recorder):
    """socket.io-client on Node, as users run it."""

    driver: tuple[str, ...] = (str(_JAVASCRIPT / "client.mjs"),)

    def __init__(self, url: str, transports: Sequence[str] = ("websocket",), **options: Any) -> None:
        super().__init__()
        argv = [node(), *self.driver, url, json.dumps({"transports": list(transports), **options})]
        self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            event, *bodies = json.loads(line)
            if event == "ack":
                self.received.append((f"ack:{bodies[0]}", bodies[1]))
            elif event == "connect_error":
                self.received.append((event, {"message": bodies[0], "data": bodies[1]}))
            else:
                self.received.append((event, bodies[0] if bodies else None))

    @property
    def pid(self) -> int:
        return self._popen.pid

    def emit(self, event: str, *payload: Any, ack: bool = False) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps({"emit": event, "args": payload, "ack": ack}) + "\n")
        self._popen.stdin.flush()

    def call(self, event: str, *payload: Any) -> Any:
        """Emit and return the ack's body."""
        before = len(self.bodies(f"ack:{event}"))
        self.emit(event, *payload, ack=True)
        return self.wait(f"ack:{event}", before + 1)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(60)
        self._reader.join(60)
        if self._popen.stdout:
            self._popen.stdout.close()


class Rejected(Exception):
    """The client rejected a promise; `error` is the TickwireError as JSON."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error['message']}")
        self.error = error


class FxNode:
    """`FXDataPipelineClient`, our JavaScript client, on Node. It connects at `call("connect")`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.received: list[Received] = []  # the body of a price update has `replayed` too
        self._pace = Pace()
        self._answers: dict[int, tuple[str, Any]] = {}  # id -> ("answer" or "rejected", body)
        self._ids = itertools.count()
        argv = [node(), str(_JAVASCRIPT / "fx_client.mjs"), url, json.dumps(options)]
        self._popen = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    @property
    def pid(self) -> int:
        return self._popen.pid

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            name, *bodies = json.loads(line)
            if name in ("answer", "rejected"):
                self._answers[bodies[0]] = (name, bodies[1])
            elif len(bodies) > 1:
                self.received.append((name, {**bodies[0], **bodies[1]}))
            else:
                self.received.append((name, bodies[0]))

    def begin(self, **command: Any) -> int:
        """Send a command without waiting; return its id, for `result`."""
        number = next(self._ids)
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps({"id": number, **command}) + "\n")
        self._popen.stdin.flush()
        return number

    def result(self, number: int, seconds: float = 30) -> Any:
        """Wait for the result of a command and return it. Raises `Rejected`."""
        until(lambda: number in self._answers, seconds, lambda: f"an answer; received: {self.received[-6:]}")
        kind, body = self._answers[number]
        if kind == "rejected":
            raise Rejected(body)
        return body

    def call(self, method: str, *args: Any) -> Any:
        """Call a method and return the value of its promise. Raises `Rejected`."""
        return self.result(self.begin(call=method, args=args))

    def stats(self) -> Any:
        """Return the answer of `getServerStats`, as in `Recorder.stats`."""
        self._pace.keep()
        return self.call("getServerStats")

    def get(self, name: str) -> Any:
        """Return the value of a property."""
        return self.result(self.begin(get=name))

    def bodies(self, handler: str) -> list[Any]:
        return [body for name, body in list(self.received) if name == handler]

    def wait(self, handler: str, count: int = 1, seconds: float = 30, **fields: Any) -> Any:
        """Wait for the `count`th body with these fields that a handler received, and return it."""

        def there() -> list[Any]:
            return [body for body in self.bodies(handler) if all(body.get(name) == value for name, value in fields.items())]

        def wanted() -> str:
            return f"{handler} number {count} with {fields}; received: {self.received[:4]} … {self.received[-4:]}"

        until(lambda: len(there()) >= count, seconds, wanted)
        return there()[count - 1]

    def seqs(self, instrument: str = "EUR_USD") -> list[int]:
        """Return the `seq` of each price that the handler received, in order."""
        return [body["seq"] for body in self.bodies("onPriceUpdate") if body["instrument"] == instrument and "seq" in body]

    def end(self) -> int:
        """Disconnect; wait until the process ends by itself and return its exit code."""
        assert self._popen.stdin is not None
        if not self._popen.stdin.closed:
            self._popen.stdin.close()
        return self._popen.wait(60)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(60)
            if kind is None:
                raise
        finally:
            self._reader.join(60)
            if self._popen.stdout:
                self._popen.stdout.close()
