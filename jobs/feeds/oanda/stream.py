"""Live source of OANDA: one line of JSON per price, and a heartbeat every five seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import orjson

from db.admission import NotAdmitted, Window, check_price, check_quote
from db.decimals import middle, plain_decimal
from db.instruments import Instrument
from db.messages import Tick
from jobs.feeds.base import Source
from jobs.feeds.http_lines import lines
from jobs.feeds.oanda.wire import NAME, contract_time, request_headers
from jobs.feeds.renewal import Renewal

_NOTHING_NEW = b""  # an arrival without a new price: the connection is alive


class OandaSource(Source[bytes]):
    """Live prices of `instruments`; `url` is the streaming host.

    A connection begins with the current price of every instrument, which is usually known: a price
    that is older than the last one of its instrument, or equal to it, is skipped. `latest_times`
    maps instruments to the times, in contract form, of prices from before the start. `window`
    returns the times that are admitted now: other prices have no effect on later ones. After
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
        window: Callable[[], Window],
        silence: float = 15.0,
    ) -> None:
        self._url = f"{url.rstrip('/')}/v3/accounts/{quote(account, safe='')}/pricing/stream"
        self._token = token
        self._instruments = frozenset(instruments)
        self._requested = self._instruments  # of the present connection
        self._renewal = Renewal()
        self._silence = silence
        self._window = window
        admitted = window()
        # instrument -> time of its last admitted price
        self._last_times = {symbol: moment for symbol, moment in latest_times.items() if admitted.contains(moment)}
        self._last: dict[str, Tick] = {}  # instrument -> its last price since the start

    def set_instruments(self, instruments: Sequence[Instrument], latest: Mapping[str, str] | None = None) -> None:
        """Connect again if the instruments have changed."""
        wanted = frozenset(each.symbol for each in instruments)
        if wanted != self._instruments:
            self._instruments = wanted
            self._renewal.ask()

    def fetch(self, stop: threading.Event) -> Generator[bytes, None, None]:
        while not stop.is_set():
            self._renewal.begin(stop)
            self._requested = self._instruments
            if self._requested:
                yield from self._connection(self._renewal)
            else:
                self._renewal.wait()

    def _connection(self, end: threading.Event) -> Generator[bytes, None, None]:
        headers = request_headers(self._token)
        asked = {"instruments": ",".join(sorted(self._requested))}
        with closing(lines(self._url, headers=headers, parameters=asked, silence=self._silence, stop=end)) as heard:
            for line in heard:
                yield line if self._is_news(line) else _NOTHING_NEW

    def parse(self, raw: bytes) -> list[Tick]:
        try:
            tick = price_of(raw, self._requested)
        except ValueError as error:
            self.note_bad(error)
            return []
        return [] if tick is None else [tick]

    def _is_news(self, line: bytes) -> bool:
        try:
            tick = price_of(line, self._requested)
        except ValueError:
            return True  # `parse` reports it
        if tick is None:
            return True
        try:
            check_quote(tick, self._window())
        except ValueError:
            return True  # `Ingest` reports it
        last_time = self._last_times.get(tick.instrument, "")
        # Two prices may have the same microsecond. Of a price from before the start only the time
        # is known.
        if tick.time < last_time or (tick.time == last_time and self._last.get(tick.instrument, tick) == tick):
            return False
        self._last_times[tick.instrument], self._last[tick.instrument] = tick.time, tick
        return True


def price_of(line: bytes, instruments: Collection[str]) -> Tick | None:
    """The price in a line of the stream; None for a heartbeat or a price that is not tradeable.

    The best bid is the largest, the best ask the smallest of all offers.

    Raises `ValueError` for anything else.
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
        raise NotAdmitted("price of an instrument that was not requested", "unknown_instrument")
    quote = _quote(message)
    if quote is None:
        return None
    bid, ask, moment = quote
    return Tick(symbol, bid=bid, ask=ask, mid=middle(bid, ask), time=moment, source=NAME)


def _quote(message: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Best bid, best ask and time of a price; None if one side has no offer."""
    try:
        bids, asks = (_offers(message[side]) for side in ("bids", "asks"))
        moment = contract_time(message["time"])
    except (KeyError, TypeError):
        raise ValueError("price without offers or time") from None
    if not bids or not asks:
        return None
    return max(bids, key=Decimal), min(asks, key=Decimal), moment


def _offers(buckets: Any) -> list[str]:
    """The prices of one side of the order book, in any order."""
    if not isinstance(buckets, list):
        raise TypeError("no list of offers")
    prices = [plain_decimal(price) if isinstance(price := bucket["price"], str) else price for bucket in buckets]
    for price in prices:
        check_price(price)
    return prices
