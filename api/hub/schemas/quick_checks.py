"""Quick checks of frequent messages: True only if the schema of the channel accepts the message.

A message that fails its quick check may still be valid: the schema decides. The quick check exists
because a marshmallow load takes 20 µs with warm caches, and many times that for one message between
two rounds of `send()`.
"""

from __future__ import annotations

import re
from operator import itemgetter
from typing import Any

import orjson

from api.hub.schemas.books import MAX_CRC32, MAX_ID
from api.hub.schemas.bus import MAX_EPOCH_LENGTH, MAX_NAME_LENGTH, MAX_SEQ
from db.decimals import DECIMAL, is_decimal
from db.intervals import INTERVALS
from db.scenarios.status import BOOK_STATES
from db.timestamps import USUAL_TIME, day_exists
from db.topics import BOOK_DEPTHS

# All texts of a message in one match, which is quicker than one match each.
_are_prices = re.compile("\t".join((*(DECIMAL,) * 3, *(USUAL_TIME,) * 2)), re.ASCII).fullmatch
_are_candles = re.compile("\t".join((*(DECIMAL,) * 5, *(USUAL_TIME,) * 3)), re.ASCII).fullmatch
_is_usual_time = re.compile(USUAL_TIME, re.ASCII).fullmatch
# The bytes of a price as `_price_body` of db/bus/publish.py and publish.lua write them. The name is
# not checked: the caller has found it among the known ones.
_is_price_body = re.compile(
    rf'{{"instrument":"[^"]*","price":{{"bid":"{DECIMAL}","ask":"{DECIMAL}","mid":"{DECIMAL}","time":"(?P<time>{USUAL_TIME})"}}'
    rf',"timestamp":"(?P<timestamp>{USUAL_TIME})","seq":[1-9][0-9]{{0,14}},"epoch":"\w{{1,{MAX_EPOCH_LENGTH}}}"}}'.encode(),
    re.ASCII,
).fullmatch
_are_times = re.compile(rf"{USUAL_TIME}\t{USUAL_TIME}", re.ASCII).fullmatch
# The JSON text of a side of a book. Possessive quantifiers halve the time.
_LEVEL_TEXT = r'"[0-9]{1,24}+(?:\.[0-9]{1,24}+)?+"'
_are_levels = re.compile(rf"\[(?:\[{_LEVEL_TEXT},{_LEVEL_TEXT}\],?+)*+\]".encode()).fullmatch

_shared_by_bodies = itemgetter("instrument", "depth", "update_id", "checksum", "time", "timestamp", "lag_ms", "seq", "epoch")


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


def is_plain_price_body(body: bytes) -> bool:
    """Return True if the bytes are a message that passes `is_plain_price`, of a known instrument.

    One match takes a fifth of the time of a decode with its check.
    """
    found = _is_price_body(body)
    return found is not None and day_exists(found["time"][:10].decode()) and day_exists(found["timestamp"][:10].decode())


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


def is_plain_book(data: dict[str, Any]) -> bool:
    """Return True if `data` is a `book_updates` message in the form of our own publisher.

    With four depths and ten messages a second, six books make 240 of them.
    """
    update, snapshot = data.get("update"), data.get("snapshot")
    if type(snapshot) is not dict or type(data.get("meta")) is not dict or not _has_plain_head(snapshot):
        return False
    try:
        return (
            _has_plain_facts(snapshot)
            and _is_plain_window(snapshot["complete"])
            and _has_plain_levels(snapshot)
            and (update is None or (_are_of_one_message(update, snapshot) and _has_plain_levels(update)))
        )
    except (KeyError, TypeError):
        return False


def _are_of_one_message(update: dict[str, Any], snapshot: dict[str, Any]) -> bool:
    """Return True if the shared fields are the same. Texts differ for 5 and 5.0, too."""
    return orjson.dumps(_shared_by_bodies(update)) == orjson.dumps(_shared_by_bodies(snapshot))


def _has_plain_facts(snapshot: dict[str, Any]) -> bool:
    depth, number, checksum, lag = snapshot["depth"], snapshot["update_id"], snapshot["checksum"], snapshot["lag_ms"]
    time, timestamp = snapshot["time"], snapshot["timestamp"]
    if type(depth) is not int or type(number) is not int or type(checksum) is not int or type(lag) not in (float, int):
        return False
    if snapshot["state"] not in BOOK_STATES or type(snapshot["reason"]) is not str or depth not in BOOK_DEPTHS:
        return False
    if not (0 <= number <= MAX_ID and 0 <= checksum <= MAX_CRC32 and _are_times("\t".join((time, timestamp)))):
        return False
    return day_exists(time[:10]) and day_exists(timestamp[:10])


def _is_plain_window(window: dict[str, Any]) -> bool:
    counts = window["bids"], window["asks"]
    bounds = window["from"], window["to"]
    return all(type(count) is int and count >= 0 for count in counts) and all(bound is None or is_decimal(bound) for bound in bounds)


def _has_plain_levels(body: dict[str, Any]) -> bool:
    """Return True if both sides are lists of two decimals each."""
    return bool(_are_levels(orjson.dumps(body["bids"]))) and bool(_are_levels(orjson.dumps(body["asks"])))


def _has_plain_head(data: dict[str, Any]) -> bool:
    name, epoch, seq = data.get("instrument"), data.get("epoch"), data.get("seq")
    if type(name) is not str or type(epoch) is not str or type(seq) is not int:
        return False
    return 0 < len(name) <= MAX_NAME_LENGTH and 0 < len(epoch) <= MAX_EPOCH_LENGTH and 0 < seq <= MAX_SEQ
