"""Stock clients that remember, in order, everything they are told."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import socketio

from tests.conftest import until

_DRIVER = Path(__file__).parent / "js" / "client.mjs"

Told = tuple[str, Any]


class _Recorder(ABC):
    """What a client was told: (event, body) in the order of arrival; acks come as `ack:EVENT`."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    @abstractmethod
    def call(self, event: str, *payload: Any) -> Any:
        """Emit and return the ack's body."""

    def bodies(self, event: str) -> list[Any]:
        return [body for name, body in list(self.told) if name == event]

    def wait(self, event: str, count: int = 1, where: Callable[[Any], bool] = lambda body: True, seconds: float = 20) -> Any:
        """The `count`th body of `event` that satisfies `where`."""

        def there() -> list[Any] | None:
            bodies = [body for body in self.bodies(event) if where(body)]
            return bodies if len(bodies) >= count else None

        try:
            bodies = until(there, seconds)
        except AssertionError:
            raise AssertionError(f"no {event} number {count}; told: {self.told[:6]} … {self.told[-6:]}") from None
        assert isinstance(bodies, list)
        return bodies[count - 1]

    def seqs(self, instrument: str = "EUR_USD") -> list[int]:
        """`seq` of each price_update of the instrument, in order of arrival."""
        return [body["seq"] for body in self.bodies("price_update") if body["instrument"] == instrument and "seq" in body]


class PythonClient(_Recorder):
    """python-socketio's client over one transport (`websocket`, `polling`) or both (upgrade)."""

    def __init__(self, url: str, transports: Sequence[str] = ("websocket",), *, reconnection: bool = False) -> None:
        super().__init__()
        self._client = socketio.Client(reconnection=reconnection, reconnection_delay=0.1, reconnection_delay_max=0.5)
        self._url, self._transports = url, list(transports)
        # It handles every message in a thread of its own, and so in any order; to see the order of arrival we let it use the reader's.
        trigger = self._client.eio._trigger_event

        def in_order(event: str, *arguments: Any, run_async: bool = False, **options: Any) -> Any:
            return trigger(event, *arguments, run_async=run_async and event != "message", **options)

        self._client.eio._trigger_event = in_order
        self._client.on("*", lambda event, *bodies: self.told.append((event, bodies[0] if bodies else None)))
        for event in ("connect", "disconnect", "connect_error"):
            self._client.on(event, lambda *bodies, event=event: self.told.append((event, bodies[0] if bodies else None)))

    def __enter__(self) -> Self:
        self.connect()
        return self

    def connect(self, auth: Any = None) -> None:
        self._client.connect(self._url, transports=self._transports, auth=auth, wait_timeout=10)
        self.wait("connection_established")

    def emit(self, event: str, *payload: Any) -> None:
        self._client.emit(event, payload if len(payload) != 1 else payload[0])

    def call(self, event: str, *payload: Any) -> Any:
        """Emit and return the ack's body."""
        return self._client.call(event, payload if len(payload) != 1 else payload[0], timeout=10)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()


class NodeClient(_Recorder):
    """socket.io-client on Node, as its users have it."""

    driver: tuple[str, ...] = (str(_DRIVER),)

    def __init__(self, url: str, transports: Sequence[str] = ("websocket",), **options: Any) -> None:
        super().__init__()
        node = shutil.which("node")
        assert node is not None, "Node is needed for the JavaScript client; `make test` installs one"
        argv = [node, *self.driver, url, json.dumps({"transports": list(transports), **options})]
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
                self.told.append((f"ack:{bodies[0]}", bodies[1]))
            elif event == "connect_error":
                self.told.append((event, {"message": bodies[0], "data": bodies[1]}))
            else:
                self.told.append((event, bodies[0] if bodies else None))

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
            self._popen.wait(10)
        self._reader.join(5)
        if self._popen.stdout:
            self._popen.stdout.close()
