"""Live source of OANDA: one line of JSON per price, and a heartbeat every five seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import closing
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import orjson

from config.pacing import Throttle
from db.decimals import is_decimal, middle
from db.messages import Tick
from jobs.feeds.base import Source
from jobs.feeds.http_lines import lines
from jobs.feeds.oanda.wire import NAME, contract_time, request_headers

log = logging.getLogger(__name__)

_NOTHING_NEW = b""  # an arrival without a new price: the connection is alive


class OandaSource(Source[bytes]):
    """Live prices of `instruments`; `url` is the streaming host.

    A connection begins with the current price of every instrument, which is usually known: a price
    that is older than the last one of its instrument, or equal to it, is skipped. `latest_times`
    maps instruments to the times, in contract form, of prices from before the start. After
    `silence` seconds without a line the connection is closed.
    """

    name = NAME
    stale_after = 10.0  # two heartbeats

    def __init__(
        self,
        url: str,
        account: str,
        token: str | None,
        instruments: Collection[str],
        *,
        latest_times: Mapping[str, str],
        silence: float = 15.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = f"{url.rstrip('/')}/v3/accounts/{quote(account, safe='')}/pricing/stream"
        self._token = token
        self._instruments = frozenset(instruments)
        self._silence = silence
        self._last_times = dict(latest_times)  # instrument -> time of its last price
        self._last: dict[str, Tick] = {}  # instrument -> its last price since the start
        self._throttle = Throttle(monotonic=monotonic)

    def fetch(self, stop: threading.Event) -> Generator[bytes, None, None]:
        headers = request_headers(self._token)
        asked = {"instruments": ",".join(sorted(self._instruments))}
        with closing(lines(self._url, headers=headers, parameters=asked, silence=self._silence, stop=stop)) as heard:
            for line in heard:
                yield line if self._is_news(line) else _NOTHING_NEW

    def parse(self, raw: bytes) -> list[Tick]:
        try:
            tick = price_of(raw, self._instruments)
        except ValueError as error:
            self._note_garbage(str(error))
            return []
        return [] if tick is None else [tick]

    def _is_news(self, line: bytes) -> bool:
        try:
            tick = price_of(line, self._instruments)
        except ValueError:
            return True  # `parse` logs it
        if tick is None:
            return True
        last_time = self._last_times.get(tick.instrument, "")
        # Two prices may have the same microsecond. Of a price from before the start only the time
        # is known.
        if tick.time < last_time or (tick.time == last_time and self._last.get(tick.instrument, tick) == tick):
            return False
        self._last_times[tick.instrument], self._last[tick.instrument] = tick.time, tick
        return True

    def _note_garbage(self, kind: str) -> None:
        if (count := self._throttle.due(kind)) is not None:
            log.warning(
                "skipped unrecognised message (repeats suppressed for 60 s)", extra={"source": NAME, "reason": kind, "count": count}
            )


def price_of(line: bytes, instruments: Collection[str]) -> Tick | None:
    """The price in a line of the stream; None for a heartbeat or a price that is not tradeable.

    Raises `ValueError` for anything else; its text names only the kind of message.
    """
    if not line.strip():
        return None
    try:
        message = orjson.loads(line)
    except ValueError:
        raise ValueError("not JSON") from None
    kind = message.get("type") if isinstance(message, dict) else None
    if kind == "HEARTBEAT":
        return None
    if kind != "PRICE":
        raise ValueError("neither price nor heartbeat")
    # Outside trading hours a connection begins with the last quote; older answers mark it in
    # `status` only.
    if message.get("tradeable") is False or message.get("status", "tradeable") != "tradeable":
        return None
    symbol = message.get("instrument")
    if not isinstance(symbol, str) or symbol not in instruments:
        raise ValueError("price of an instrument that was not asked for")
    bid, ask, moment = _quote(message)
    return Tick(symbol, bid=bid, ask=ask, mid=middle(bid, ask), time=moment, source=NAME)


def _quote(message: Mapping[str, Any]) -> tuple[str, str, str]:
    """Best bid, best ask and time of a price; the first offer of each side is the best."""
    try:
        bid, ask = message["bids"][0]["price"], message["asks"][0]["price"]
        moment = contract_time(message["time"])
    except (KeyError, IndexError, TypeError, ValueError):
        raise ValueError("price without bid, ask or time") from None
    if not (isinstance(bid, str) and isinstance(ask, str) and is_decimal(bid) and is_decimal(ask)):
        raise ValueError("price that is not a decimal string")
    if not 0 < Decimal(bid) <= Decimal(ask):
        raise ValueError("bid of nothing or above ask")
    return bid, ask, moment
