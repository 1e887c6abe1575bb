"""A local Binance: real WebSocket streams and a real REST API, in a process of its own, which can be told to misbehave.

    with BinanceStandIn(tmp_path, trades=100_000, speed=None) as binance:
        settings = replace(settings, binance_ws_url=binance.ws_url, binance_rest_url=binance.rest_url, binance_symbols=binance.symbols)
        # or, for a process: jobs(settings, log, SOURCES="binance", **binance.variables)
        binance.control("drop")
        until(lambda: binance.state()["ended"])
        assert stored == binance.expected()

Time is the market's, and it goes on whether anybody listens or not: it begins with the first WebSocket connection (with `waits=True`
only at `control("go")`). What happens while nobody is connected, or is skipped or stalled, is missed by the stream and to be had over
REST (`/api/v3/historicalTrades`, `/api/v3/aggTrades`), which knows everything up to the present position and nothing beyond.

What happens is either the recording of 2024-08-08 in `tests/data/binance` (BTCUSDT and ETHUSDT, 15,863 trades and 59,002 other
messages in six minutes; `trades=None`) or `trades` generated trades over `symbols`, `per_second` of them a market second, ids from
1,000,000 on for each symbol, the same at every start. `speed` is market seconds a second; None is as fast as the slowest client reads,
and `missed_rate` messages a second while there is no client. `start` moves the first trade to a time of your choice (None: the
recording's own time, 2025-11-18 for generated ones). `microseconds` sends all times in microseconds; else, as the real service does,
only to who asks for them.

`control(do, **how)`:

| do | how | |
| --- | --- | --- |
| `go`, `pause` | | let time pass, stop it |
| `jump` | `position` (default: the end) | everything up to there has happened; no stream tells it |
| `speed` | `speed` | from now on |
| `drop` | | reset every WebSocket connection |
| `close` | `code=1001`, `reason` | close them normally, as after 24 hours |
| `shutdown` | `seconds=0.5`, `wrapped=True` | send `serverShutdown`, close those who stayed after `seconds` |
| `stall` | `seconds` (default: until `resume`) | who is connected gets nothing more but pongs; later connections are well |
| `freeze` | the same | not even pings are answered |
| `resume` | | end that; what happened meanwhile is missed |
| `vanish` | `seconds=1` | reset everything, refuse every connection (REST: reset every request) for so long |
| `garbage` | `text` (default: a dozen kinds) | send it now, one frame each |
| `half` | `count=1`, `symbol` | the next trades, of `symbol` or of each symbol, arrive as half a JSON text |
| `skip` | the same | ... are left out of the stream; REST has them |
| `lose` | the same | ... are nowhere, not even in `expected()`: a hole that cannot be filled |
| `repeat` | the same | ... are sent twice |
| `reorder` | the same | ... are sent in the opposite order |
| `refuse` | `what="rest"` or `"handshake"`, `status=503`, `count=1`, `retry_after` | so many requests are refused |
| `repeat_pages` | `count=1` | `historicalTrades` gives its last page again, whatever is asked for |
| `short_pages` | `count=1`, `size=600` | so many pages of `historicalTrades` have at most `size` trades, more behind them or not |
| `bad_item` | `symbol`, `id`, `changes` | `historicalTrades` sends this trade with these fields; a field that is null is left out |
| `series` | `symbol`, `first_id=0` | the ids of the trades to come begin anew; REST has the new ones alone |
| `microseconds` | `on=True` | times from now on, in streams and REST |

REST counts request weight as the real service does (25, 4 or 1; `X-MBX-USED-WEIGHT-1M`; 429 above 6,000), but over `weight_window`
seconds, a tenth by default: what is a minute there would be the length of a test here.

`state()`: `position`, `length`, `ended`, `playing`, `connections`, `delivered` (everybody was sent everything so far), `streams`,
`answered_pings` (links whose pong came; the server pings every `ping_interval` seconds), `handshakes`, `sent`, `requests` by path,
`trades` that happened by symbol, `lost` as [symbol, id].
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from db.messages import Trade
from db.timestamps import format_time
from tests.conftest import until
from tests.processes import Running
from tests.standins.binance_market import milliseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GENERATED_START = datetime(2025, 11, 18, tzinfo=UTC)


class BinanceStandIn(Running):
    """The process, for a `with` block. Its files go to `folder`."""

    def __init__(
        self,
        folder: Path,
        *,
        symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
        trades: int | None = None,
        speed: float | None = 1.0,
        per_second: float = 1000.0,
        start: datetime | None = None,
        waits: bool = False,
        missed_rate: float = 5000.0,
        microseconds: bool = False,
        ping_interval: float | None = 20.0,
        weight_window: float = 0.1,
    ) -> None:
        self.symbols = tuple(symbols)
        self._micro = microseconds
        self._file = folder / "binance.ports"
        options: dict[str, Any] = {
            "file": str(self._file),
            "parent": os.getpid(),
            "weight_window": weight_window,
            "streams": {"speed": speed, "missed_rate": missed_rate, "waits": waits, "micro": microseconds, "ping_interval": ping_interval},
        }
        if trades is None:
            options["recorded"] = {"symbols": self.symbols, "start_ms": None if start is None else milliseconds(start)}
        else:
            begin = milliseconds(start or _GENERATED_START)
            options["generated"] = {"symbols": self.symbols, "trades": trades, "per_second": per_second, "start_ms": begin}
        argv = [sys.executable, "-m", "tests.standins.binance_server", orjson.dumps(options).decode()]
        super().__init__(argv, {}, folder / "binance.log")

    def start(self) -> None:
        """Start it and wait until it serves."""
        self._file.unlink(missing_ok=True)
        super().start()
        until(self._serves, 60, "the local Binance")
        streams, rest = orjson.loads(self._file.read_bytes())
        self.ws_url, self.rest_url = f"ws://127.0.0.1:{streams}", f"http://127.0.0.1:{rest}"

    def _serves(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()[-3000:]
        return self._file.exists()

    @property
    def variables(self) -> dict[str, str]:
        """The settings that make a process use it, as environment variables."""
        return {"BINANCE_WS_URL": self.ws_url, "BINANCE_REST_URL": self.rest_url, "BINANCE_SYMBOLS": ",".join(self.symbols)}

    def control(self, do: str, **how: Any) -> None:
        """Tell it what to do; the table is in the module's docstring."""
        self._ask("/_control", orjson.dumps({"do": do, **how}))

    def state(self) -> dict[str, Any]:
        """How it is doing."""
        return dict(orjson.loads(self._ask("/_state")))

    def expected(self, *, microseconds: bool | None = None) -> list[Trade]:
        """Every trade there is to be had from first to last, by symbol and id, as the store should hold them."""
        micro = self._micro if microseconds is None else microseconds
        rows = orjson.loads(self._ask("/_trades?micro=1" if micro else "/_trades"))
        factor = 1 if micro else 1000
        return [
            Trade(symbol, number, _contract_time(moment * factor), price, quantity, "sell" if maker else "buy")
            for symbol, number, moment, price, quantity, maker in sorted(rows)
        ]

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        try:
            with urllib.request.urlopen(self.rest_url + path, body, timeout=30) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None


def _contract_time(microseconds: int) -> str:
    return format_time(_EPOCH + timedelta(microseconds=microseconds))
