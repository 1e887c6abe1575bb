"""What goes over the bus: what is published, and what a reader of its streams gets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Tick:
    """One quote as a source gave it: decimal text, digits untouched; `time` is the source's, in contract form."""

    instrument: str
    bid: str
    ask: str
    mid: str
    time: str
    source: str
    volume: str | None = None


class Trade(NamedTuple):
    """One trade of an exchange: decimal text, `time` in contract form, `side` what the aggressor did (`buy` or `sell`).

    A tuple, for there are thousands of them a second.
    """

    symbol: str
    trade_id: int
    time: str
    price: str
    quantity: str
    side: str


def trade_lines(trades: Iterable[Trade]) -> bytes:
    """Trades as COPY takes them: the fields of a `Trade` tab-separated, a line each."""
    return "".join(
        [f"{symbol}\t{trade_id}\t{time}\t{price}\t{quantity}\t{side}\n" for symbol, trade_id, time, price, quantity, side in trades]
    ).encode()


@dataclass(frozen=True, slots=True)
class Stamp:
    """The place a message got on its channel."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of a stream, `body` byte for byte as it was published."""

    id: bytes
    topic: str
    epoch: str
    seq: int
    body: bytes
    source: str
    volume: str | None

    @classmethod
    def of(cls, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
        """From what Redis gives of it."""
        return cls(
            id=entry_id,
            topic=fields[b"topic"].decode(),
            epoch=fields[b"epoch"].decode(),
            seq=int(fields[b"seq"]),
            body=fields[b"body"],
            source=fields[b"source"].decode(),
            volume=fields[b"volume"].decode() or None,
        )


@dataclass(frozen=True, slots=True)
class TradeLines:
    """One entry of the trades' stream: `lines` is what `trade_lines` made."""

    id: bytes
    trades: int
    lines: bytes
