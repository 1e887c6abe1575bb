"""The JavaScript client of ours on Node, for tests: its methods called, everything its handlers hear remembered in order."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.clients import Told
from tests.conftest import until

_DRIVER = Path(__file__).parent / "js" / "fx_client.mjs"


class Rejected(Exception):
    """A promise of the client's was rejected; `error` is the TickwireError as JSON."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error['message']}")
        self.error = error


def node() -> str:
    """Node, which `make test` installs where there is none."""
    found = shutil.which("node")
    assert found is not None, "Node is needed for the JavaScript client; `make test` installs one"
    return found


class FxNode:
    """`FXDataPipelineClient` in a process of its own. Not connected until told to."""

    def __init__(self, url: str, **options: Any) -> None:
        self.told: list[Told] = []  # (handler, body); about price updates the body has `replayed` too
        self._answers: dict[int, tuple[str, Any]] = {}  # id -> ("answer" or "rejected", body)
        self._ids = itertools.count()
        argv = [node(), str(_DRIVER), url, json.dumps(options)]
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
            name, *what = json.loads(line)
            if name in ("answer", "rejected"):
                self._answers[what[0]] = (name, what[1])
            elif len(what) > 1:
                self.told.append((name, {**what[0], **what[1]}))
            else:
                self.told.append((name, what[0]))

    def begin(self, **command: Any) -> int:
        """Send a command and do not wait; its id, for `result`."""
        number = next(self._ids)
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps({"id": number, **command}) + "\n")
        self._popen.stdin.flush()
        return number

    def result(self, number: int, seconds: float = 30) -> Any:
        """What the command came to. Raises `Rejected`."""
        until(lambda: number in self._answers, seconds, lambda: f"an answer; told: {self.told[-6:]}")
        kind, body = self._answers[number]
        if kind == "rejected":
            raise Rejected(body)
        return body

    def call(self, method: str, *args: Any) -> Any:
        """Call a method; what its promise resolves to. Raises `Rejected`."""
        return self.result(self.begin(call=method, args=args))

    def get(self, name: str) -> Any:
        """A property."""
        return self.result(self.begin(get=name))

    def bodies(self, handler: str) -> list[Any]:
        return [body for name, body in list(self.told) if name == handler]

    def wait(self, handler: str, count: int = 1, seconds: float = 30, **fields: Any) -> Any:
        """The `count`th body that a handler was given with these fields."""

        def there() -> list[Any]:
            return [body for body in self.bodies(handler) if all(body.get(name) == value for name, value in fields.items())]

        def wanted() -> str:
            return f"{handler} number {count} with {fields}; told: {self.told[:4]} … {self.told[-4:]}"

        until(lambda: len(there()) >= count, seconds, wanted)
        return there()[count - 1]

    def seqs(self, instrument: str = "EUR_USD") -> list[int]:
        """`seq` of each price the user was given, in order."""
        return [body["seq"] for body in self.bodies("onPriceUpdate") if body["instrument"] == instrument and "seq" in body]

    def end(self) -> int:
        """Disconnect; the exit code of a process that nothing keeps alive any more."""
        assert self._popen.stdin is not None
        if not self._popen.stdin.closed:
            self._popen.stdin.close()
        return self._popen.wait(20)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.end()
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait(10)
            if kind is None:
                raise
        finally:
            self._reader.join(5)
            if self._popen.stdout:
                self._popen.stdout.close()
