"""Files of Binance: recorded messages and the public archive of data.binance.vision. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import orjson

from db.messages import Trade
from jobs.feeds.binance.messages import trade_in
from jobs.feeds.files.formats.format import Format, Head
from jobs.feeds.files.formats.model import Item, Line, Recognised

_VENDOR = "binance"
_MESSAGE = re.compile(r"\d{10,20} [{\[]", re.ASCII)


def _messages(head: Head) -> Recognised:
    keep = head.options.instrument
    return Recognised(
        "binance-messages", _VENDOR, "trades", None, "UTC", None, "the file's content", True, lambda lines: _recorded(lines, keep)
    )


def _recorded(lines: Iterable[Line], keep: str | None) -> Iterator[Item]:
    for number, line in lines:
        if '"trade"' not in line:
            continue
        try:
            trade = _trade(line)
        except ValueError as error:
            yield number, error
        else:
            if trade is not None and (keep is None or trade.symbol == keep):
                yield number, trade


def _trade(line: str) -> Trade | None:
    """The trade of a line; None for another message."""
    try:
        message = orjson.loads(line.partition(" ")[2])
        data = message.get("data", message)
        return trade_in(data) if data.get("e") == "trade" else None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no trade: {type(error).__name__} {error}") from None


FORMATS = (Format("binance-messages", _VENDOR, "trades", "", lambda head: _MESSAGE.match(head.first) is not None, _messages),)
