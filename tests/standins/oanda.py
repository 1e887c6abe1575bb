"""A local OANDA: pricing stream and candles of the v20 API, from recordings, in its own process.

    with OandaStandIn(quotes={"EUR_USD": FOLDER / "EUR_USD_20140505.csv.gz"}, speed=60) as oanda:
        jobs(settings, log, SOURCES="oanda", **oanda.environ)
        oanda.control(do="drop", after=1000)
        until(lambda: oanda.state()["over"])

**The market** plays the quotes of all recordings in the order of their times. `speed` is the factor
to the original speed; None is as fast as the clients read. If `wait` is true (the default), the
market pauses while no stream is open, so a dropped link misses no quote. If it is false, the time
continues, and the missed quotes are available as candles only. The clock shows the time of the last
played quote, and the real time after the last one; `now` sets it.

**The stream** begins with the current price of each requested instrument. It sends a heartbeat
every `heartbeat` seconds.

**Candles** come from `candles`, {("EUR_USD", "H1"): file}, otherwise from the played quotes,
otherwise from finer candles. The last one is incomplete if the clock is inside it. Granularities:
M1 M5 M15 H1 H4 D.

**Control**, `control(do=…)`, takes effect at once, or after N more quotes if `after=N` is given:

    drop            close every stream in the middle of its response
    reset           the same with a TCP reset: data in flight may be lost
    end             end every stream's response properly
    stall           stop sending on the open streams, including heartbeats
    half            send half of the next price, then drop
    say             send `text` (with its line feed) on every stream
    refuse          refuse the next `times` (1) requests with `status` and, if given,
                    `retry_after`; `path` limits it to "stream" or "candles"
    repeat_page     repeat the last response for the next `times` (1) candle requests
    buckets         send prices with unordered offers, unless `on` is false: the best one is
                    neither first nor last
    bad_candle      send the candle of `granularity` (H1) and `time` with the fields `changes`; a
                    field that is null is left out
    pause, resume   the market
    now             set the clock to `time`; if it is None, release the clock

**State**, `state()`: accepted `streams`, `open` ones, `stream_requests`, `candles_requests`,
`refused`, `sent` prices without `snapshots`, `position` of `quotes`, `over` if all quotes have been
played, and the instruments of the newest stream (`asked`).

Errors have the bodies of the real service (400, 401, 403) or of a proxy (429, 5xx).
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.support.ports import free_port

_ROOT = Path(__file__).parents[2]


class OandaStandIn:
    """The server, for a `with` block; see the module."""

    token = "c9f1e0a7d2b84356a1b2c3d4e5f60718-9a8b7c6d5e4f30211203f4e5d6c7b8a9"
    account = "101-004-1234567-001"

    def __init__(
        self,
        *,
        quotes: Mapping[str, Path] | None = None,
        candles: Mapping[tuple[str, str], Path] | None = None,
        speed: float | None = None,
        heartbeat: float = 5.0,
        wait: bool = True,
        now: str | None = None,
    ) -> None:
        self._config: dict[str, Any] = {
            "token": self.token,
            "account": self.account,
            "quotes": [(name, str(file)) for name, file in (quotes or {}).items()],
            "candles": [(name, granularity, str(file)) for (name, granularity), file in (candles or {}).items()],
            "speed": speed,
            "heartbeat": heartbeat,
            "wait": wait,
            "now": now,
            "port": free_port(),  # stays free between `kill` and `start`
        }
        self._process: subprocess.Popen[str] | None = None
        self._client = httpx.Client(trust_env=False, timeout=60)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._config['port']}"

    @property
    def environ(self) -> dict[str, str]:
        """The environment variables that point a process at this server."""
        return {
            "OANDA_API_TOKEN": self.token,
            "OANDA_ACCOUNT_ID": self.account,
            "OANDA_REST_URL": self.url,
            "OANDA_STREAM_URL": self.url,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        self._client.close()

    def start(self) -> None:
        """Start the server; after `kill`, on the same port and with a new market."""
        argv = [sys.executable, "-m", "tests.standins.oanda_server", json.dumps(self._config)]
        self._process = subprocess.Popen(argv, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        limit = threading.Timer(60, self._process.kill)
        limit.start()
        port = self._process.stdout.readline()
        limit.cancel()
        if not port:
            self.kill()
            raise RuntimeError("the OANDA stand-in did not start")
        self._config["port"] = int(port)

    def kill(self) -> None:
        """Kill the server without closing its connections."""
        if self._process is not None:
            self._process.kill()
            with self._process:  # waits, and closes the pipes
                self._process = None

    def control(self, **command: Any) -> None:
        """Run a command; see the module."""
        self._client.post(f"{self.url}/_control", json=command).raise_for_status()

    def state(self) -> dict[str, Any]:
        """Return the state; see the module."""
        return dict(self._client.get(f"{self.url}/_state").raise_for_status().json())
