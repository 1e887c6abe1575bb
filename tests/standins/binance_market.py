"""The messages of the stand-in's exchange, recorded or generated, and its REST responses."""

from __future__ import annotations

import gzip
import random
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import orjson

ROOT = Path(__file__).parents[2]
# symbol -> its recording of 2024-08-08; that of BTCUSDT is played by scenarios, too
RECORDINGS = {
    "BTCUSDT": ROOT / "data" / "recordings" / "btcusdt_20240808.gz",
    "ETHUSDT": ROOT / "tests" / "data" / "binance" / "ethusdt_20240808.gz",
}
# market -> symbol -> its recording of depth
DEPTH_RECORDINGS = {"spot": RECORDINGS, "usdm": {"BTCUSDT": ROOT / "tests" / "data" / "depth" / "usdm_btcusdt_20240808.gz"}}
# symbol -> first mid-price and tick of generated prices; other symbols start at 100.00
_PRICES = {
    "BTCUSDT": ("61837.63", "0.01"),
    "ETHUSDT": ("2683.80", "0.01"),
    "SOLUSDT": ("162.41", "0.01"),
    "BNBUSDT": ("511.30", "0.10"),
    "ADAUSDT": ("0.3421", "0.0001"),
    "XRPUSDT": ("0.6143", "0.0001"),
}
_TIMES = re.compile(rb'"([ET])":(\d{13})\b')


class Deal(NamedTuple):
    """One trade: `time` in ms, `place` among all messages, `group` its aggregate trade."""

    symbol: str
    id: int
    price: str
    quantity: str
    time: int
    maker: bool
    place: int
    group: int

    def moment(self, micro: bool) -> int:
        """Return the time in micro- or milliseconds.

        The microseconds are generated; all trades of a millisecond have the same.
        """
        return self.time * 1000 + self.time * 7919 % 1000 if micro else self.time


class Entry(NamedTuple):
    """One message; `due` is in seconds since the first."""

    due: float
    stream: str
    body: bytes
    deal: Deal | None

    def text(self, micro: bool) -> bytes:
        """Return the message as sent, with times in micro- or milliseconds."""
        if not micro:
            return self.body
        if self.deal is None:
            return _TIMES.sub(rb'"\1":\g<2>000', self.body)
        return combined(self.stream, _trade(self.deal, micro=True))


class Market:
    """Every message, and every trade by symbol and id.

    Trades in `lost` are neither in the streams nor in REST responses.
    """

    def __init__(
        self,
        messages: Iterable[tuple[float, str, bytes, dict[str, Any] | None]],
        *,
        kind: str = "spot",
        snapshots: Mapping[str, bytes] | None = None,
    ) -> None:
        self.kind = kind
        self.snapshots = dict(snapshots or {})  # symbol -> the recorded one
        self.diffs: dict[str, list[int]] = {}  # symbol -> places of its diffs
        self.tickers: dict[str, list[int]] = {}  # symbol -> places of its book tickers
        self.entries: list[Entry] = []
        self.deals: dict[str, list[Deal]] = {}
        self.lost: set[tuple[str, int]] = set()
        self._series: dict[str, int] = {}  # symbol -> number of its trades of earlier series
        for due, stream, body, trade in messages:
            symbol, _, channel = stream.partition("@")
            if (places := {"depth@100ms": self.diffs, "bookTicker": self.tickers}.get(channel)) is not None:
                places.setdefault(symbol.upper(), []).append(len(self.entries))
            self.entries.append(Entry(due, stream, body, None if trade is None else self._add(trade)))

    def _add(self, trade: dict[str, Any]) -> Deal:
        deals = self.deals.setdefault(trade["s"], [])
        key = (trade["p"], trade["T"], trade["m"])
        last = deals[-1] if deals else None
        same = last is not None and key == (last.price, last.time, last.maker)
        group = 1 if last is None else last.group + (not same)
        deal = Deal(trade["s"], trade["t"], trade["p"], trade["q"], trade["T"], trade["m"], len(self.entries), group)
        deals.append(deal)
        return deal

    def traded(self, symbol: str, position: int) -> Sequence[Deal]:
        """Return the trades of `symbol` among the first `position` messages, by id."""
        deals = self.deals[symbol]
        return deals[: bisect_left(deals, position, key=attrgetter("place"))]

    def begin_series(self, symbol: str, position: int, first_id: int) -> None:
        """Number the trades of `symbol` from `position` on anew."""
        deals = self.deals[symbol]
        begin = self._series[symbol] = bisect_left(deals, position, key=attrgetter("place"))
        for index, deal in enumerate(deals[begin:]):
            deals[begin + index] = deal = deal._replace(id=first_id + index)
            entry = self.entries[deal.place]
            self.entries[deal.place] = entry._replace(body=combined(entry.stream, _trade(deal, micro=False)), deal=deal)

    def _newest_series(self, symbol: str, position: int) -> Sequence[Deal]:
        return self.traded(symbol, position)[self._series.get(symbol, 0) :]

    def trades(self, symbol: str, position: int, first_id: int | None, limit: int, micro: bool) -> list[dict[str, Any]]:
        """Return the body of `historicalTrades` after `position` messages."""
        deals = self._newest_series(symbol, position)
        start = max(0, len(deals) - limit) if first_id is None else bisect_left(deals, first_id, key=attrgetter("id"))
        page: list[dict[str, Any]] = []
        for deal in deals[start:]:
            if len(page) == limit:
                break
            if (symbol, deal.id) not in self.lost:
                page.append(_historical(deal, micro))
        return page

    def aggregates(
        self, symbol: str, position: int, *, first: int | None, start: int, end: int | None, limit: int, micro: bool
    ) -> list[dict[str, Any]]:
        """Return the body of `aggTrades` from aggregate `first` on.

        If `first` is None, it starts at time `start` (ms) and ends at `end` (inclusive).
        """
        deals = self._newest_series(symbol, position)
        begin = bisect_left(deals, start, key=attrgetter("time")) if first is None else bisect_left(deals, first, key=attrgetter("group"))
        groups: dict[int, list[Deal]] = {}
        for deal in deals[begin:]:
            if (end is not None and deal.time > end) or (len(groups) == limit and deal.group not in groups):
                break
            if (symbol, deal.id) not in self.lost:
                groups.setdefault(deal.group, []).append(deal)
        return [_aggregate(group, micro) for group in groups.values()]

    def next_places(self, kind: str, position: int, count: int, symbol: str | None) -> list[list[int]]:
        """Return the places of the next `count` messages of a kind, of one symbol or of each."""
        if kind == "trade":
            return [[deal.place for deal in deals] for deals in self.next_deals(position, count, symbol)]
        chosen = []
        for name, places in {"diff": self.diffs, "ticker": self.tickers}[kind].items():
            if symbol in (None, name):
                begin = bisect_left(places, position)
                chosen.append(places[begin : begin + count])
        return chosen

    def next_deals(self, position: int, count: int, symbol: str | None) -> list[list[Deal]]:
        """Return the next `count` trades from `position` on, of one symbol or of each."""
        chosen = []
        for name, deals in self.deals.items():
            if symbol in (None, name):
                begin = bisect_left(deals, position, key=attrgetter("place"))
                chosen.append(deals[begin : begin + count])
        return chosen


def recorded(symbols: Sequence[str], *, start_ms: int | None = None, kind: str = "spot", ticker_delay: float = 0.0) -> Market:
    """Return the recordings of the symbols, merged by time of receipt.

    `start_ms` moves the first trade to that time. `ticker_delay` delays book tickers by so many
    seconds.
    """
    lines = sorted(line for symbol in symbols for line in _lines(DEPTH_RECORDINGS[kind][symbol], ticker_delay))
    first = lines[0][0]
    shift = 0
    if start_ms is not None:
        shift = start_ms - min(int(_TIMES.findall(body)[-1][1]) for _, body in lines if b"@trade" in body[:40])
    snapshots = {symbol: _snapshot(DEPTH_RECORDINGS[kind][symbol]) for symbol in symbols}
    return Market((_message(due - first, body, shift) for due, body in lines), kind=kind, snapshots=snapshots)


def _lines(file: Path, ticker_delay: float) -> Iterator[tuple[float, bytes]]:
    for line in gzip.decompress(file.read_bytes()).splitlines():
        received, _, body = line.partition(b" ")
        if body.startswith(b'{"stream"'):
            late = ticker_delay if ticker_delay and b"@bookTicker" in body[:40] else 0.0
            # The recording of USD-M has diffs of all updates, without the time of collection.
            yield int(received) / 1e9 + late, body.replace(b"@depth@0ms", b"@depth@100ms", 1)


def _snapshot(file: Path) -> bytes:
    with gzip.open(file, "rb") as lines:
        return next(body for line in lines if (body := line.strip().partition(b" ")[2]).startswith(b'{"lastUpdateId"'))


def _message(due: float, body: bytes, shift: int) -> tuple[float, str, bytes, dict[str, Any] | None]:
    if shift:
        body = _TIMES.sub(lambda found: b'"%b":%d' % (found[1], int(found[2]) + shift), body)
    stream = body[11 : body.index(b'"', 11)].decode()
    return due, stream, body, orjson.loads(body)["data"] if stream.endswith("@trade") else None


def generated(
    symbols: Sequence[str], *, trades: int, per_second: float, start_ms: int, books_every: int = 5, seed: int = 1, first_id: int = 1_000_000
) -> Market:
    """Generate trades over the symbols, the same for the same seed.

    The ids have no gap and the prices are random walks. A book ticker precedes every fifth trade.
    """
    return Market(_walk(symbols, trades, per_second, start_ms, books_every, random.Random(seed), first_id))


def _walk(
    symbols: Sequence[str], trades: int, per_second: float, start_ms: int, books_every: int, chance: random.Random, first_id: int
) -> Iterator[tuple[float, str, bytes, dict[str, Any] | None]]:
    steps = {symbol: tuple(map(Decimal, _PRICES.get(symbol, ("100.00", "0.01")))) for symbol in symbols}
    prices = {symbol: int(price / step) for symbol, (price, step) in steps.items()}
    made = dict.fromkeys(symbols, 0)
    for number in range(trades):
        symbol = symbols[chance.randrange(len(symbols))]
        step, due = steps[symbol][1], number / per_second
        prices[symbol] = max(2, prices[symbol] + chance.choice((-1, 0, 0, 1)))
        if made[symbol] % books_every == 0:
            book = {"u": number + 1, "s": symbol, "b": _text(prices[symbol] - 1, step), "B": "1.50000000"}
            book |= {"a": _text(prices[symbol], step), "A": "2.25000000"}
            yield due, f"{symbol.lower()}@bookTicker", combined(f"{symbol.lower()}@bookTicker", book), None
        maker = chance.random() < 0.5
        price, quantity = _text(prices[symbol] - maker, step), f"{chance.randint(1, 400_000) / 100_000:.8f}"
        deal = Deal(symbol, first_id + made[symbol], price, quantity, start_ms + int(due * 1000), maker, 0, 0)
        trade = _trade(deal, micro=False)
        yield due, f"{symbol.lower()}@trade", combined(f"{symbol.lower()}@trade", trade), trade
        made[symbol] += 1


def combined(stream: str, data: Any) -> bytes:
    """Return a message of a combined stream."""
    return orjson.dumps({"stream": stream, "data": data})


def milliseconds(moment: datetime) -> int:
    """Return an aware datetime in milliseconds since 1970."""
    return int((moment.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000)


def _text(steps: int, step: Decimal) -> str:
    return f"{steps * step:.8f}"


def _trade(deal: Deal, micro: bool) -> dict[str, Any]:
    moment = deal.moment(micro)
    head = {"e": "trade", "E": moment + (1000 if micro else 1), "s": deal.symbol, "t": deal.id}
    return head | {"p": deal.price, "q": deal.quantity, "T": moment, "m": deal.maker, "M": True}


def _historical(deal: Deal, micro: bool) -> dict[str, Any]:
    value = f"{Decimal(deal.price) * Decimal(deal.quantity):.8f}"
    head = {"id": deal.id, "price": deal.price, "qty": deal.quantity, "quoteQty": value}
    return head | {"time": deal.moment(micro), "isBuyerMaker": deal.maker, "isBestMatch": True}


def _aggregate(group: list[Deal], micro: bool) -> dict[str, Any]:
    first, last = group[0], group[-1]
    quantity = f"{sum(Decimal(deal.quantity) for deal in group):.8f}"
    head = {"a": first.group, "p": first.price, "q": quantity, "f": first.id, "l": last.id}
    return head | {"T": first.moment(micro), "m": first.maker, "M": True}
