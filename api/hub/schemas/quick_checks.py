"""Quick checks of frequent messages: True only if the schema of the channel accepts the message.

A message that fails its quick check may still be valid: the schema decides. The quick check exists
because a marshmallow load takes 20 µs with warm caches, and many times that for one message between
two rounds of `send()`.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from api.hub.schemas.bus import MAX_EPOCH_LENGTH, MAX_NAME_LENGTH, MAX_SEQ
from db.decimals import DECIMAL
from db.intervals import INTERVALS
from db.timestamps import USUAL_TIME, day_exists

# All texts of a message in one match, which is quicker than one match each.
_are_prices = re.compile("\t".join((*(DECIMAL,) * 3, *(USUAL_TIME,) * 2)), re.ASCII).fullmatch
_are_candles = re.compile("\t".join((*(DECIMAL,) * 5, *(USUAL_TIME,) * 3)), re.ASCII).fullmatch
_is_usual_time = re.compile(USUAL_TIME, re.ASCII).fullmatch


def is_plain_price(data: dict[str, Any]) -> bool:
    """Return True if `data` is a `price_updates` message in the form of our own publisher."""
    price = data.get("price")
    if type(price) is not dict or not _has_plain_head(data):
        return False
    try:
        time, timestamp = price["time"], data["timestamp"]
        plain = _are_prices("\t".join((price["bid"], price["ask"], price["mid"], time, timestamp)))
    except (KeyError, TypeError):
        return False
    return bool(plain) and day_exists(time[:10]) and day_exists(timestamp[:10])


def is_plain_candle(data: dict[str, Any]) -> bool:
    """Return True if `data` is a `candle_updates` message in the form of our own publisher.

    A hub reads a stream of thousands of candles at its start, before it accepts clients.
    """
    candle, interval = data.get("candle"), data.get("interval")
    if type(candle) is not dict or type(interval) is not str or interval not in INTERVALS or not _has_plain_head(data):
        return False
    trades = candle.get("trades")
    if type(candle.get("complete")) is not bool or not (trades is None or (type(trades) is int and trades >= 0)):
        return False
    try:
        times = (candle["start_time"], candle["end_time"], data["timestamp"])
        prices = (candle["open"], candle["high"], candle["low"], candle["close"], candle["volume"])
        plain = _are_candles("\t".join(prices + times))
    except (KeyError, TypeError):
        return False
    return bool(plain) and all(day_exists(time[:10]) for time in times)


def is_plain_snapshot(data: dict[str, Any]) -> bool:
    """Return True if `data` is a `metrics_updates` message in the form of the observer.

    Ten of them arrive each second, and each has the texts of many figures.
    """
    timestamp, seq, epoch, numbers, strings = map(data.get, ("timestamp", "seq", "epoch", "numbers", "strings"))
    if (
        type(timestamp) is not str
        or type(seq) is not int
        or type(epoch) is not str
        or type(numbers) is not dict
        or type(strings) is not dict
    ):
        return False
    if not (0 <= seq <= MAX_SEQ and 0 < len(epoch) <= MAX_EPOCH_LENGTH and _is_usual_time(timestamp) and day_exists(timestamp[:10])):
        return False
    try:
        return all(type(text) is str and type(orjson.loads(text)) is dict for text in (*numbers.values(), *strings.values()))
    except orjson.JSONDecodeError:
        return False


def _has_plain_head(data: dict[str, Any]) -> bool:
    name, epoch, seq = data.get("instrument"), data.get("epoch"), data.get("seq")
    if type(name) is not str or type(epoch) is not str or type(seq) is not int:
        return False
    return 0 < len(name) <= MAX_NAME_LENGTH and 0 < len(epoch) <= MAX_EPOCH_LENGTH and 0 < seq <= MAX_SEQ
