"""The candles endpoint of the OANDA stand-in, with the selection and errors of the real service."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from db.intervals import INTERVALS, candle_start
from db.timestamps import parse_time
from tests.standins.oanda_market import INTERVAL_OF, Market

_MOST = 5000
_DEFAULT = 500


class Refusal(Exception):
    """A response 400 with this message."""


def candles_answer(market: Market, instrument: str, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """Return the body of the response. Raises `Refusal` if a parameter is invalid."""
    if not re.fullmatch(r"[A-Z]{3}_[A-Z]{3}", instrument):
        raise Refusal("Invalid value specified for 'instrument'")
    granularity, components = query.get("granularity", "S5"), query.get("price", "M")
    if granularity not in INTERVAL_OF:
        raise Refusal("Invalid value specified for 'granularity'")
    if not re.fullmatch(r"[MBA]{1,3}", components):
        raise Refusal("Invalid value specified for 'price'")
    if query.get("dailyAlignment", "17") != "17" or query.get("alignmentTimezone", "America/New_York") != "America/New_York":
        raise Refusal("the stand-in aligns days to 17:00 New York only")
    since, until = _moment(query, "from", now), _moment(query, "to", now)
    count = _count(query, granularity, since, until)
    interval = INTERVAL_OF[granularity]
    found = market.candles(instrument, granularity, now)
    if since is not None:
        first = candle_start("fx", interval, since)  # the candle around `from` counts
        found = [candle for candle in found if candle.start >= first]
        if found and found[0].start == first and query.get("includeFirst", "True").lower() == "false":
            del found[0]
    if until is not None:
        found = [candle for candle in found if candle.start < until]
    found = found[-count:] if since is None else found[:count]
    return {"instrument": instrument, "granularity": granularity, "candles": [candle.as_json(components, now) for candle in found]}


def _moment(query: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    if name not in query:
        return None
    try:
        moment = parse_time(query[name])
    except ValueError:
        raise Refusal(f"Invalid value specified for '{name}'") from None
    if moment > now:
        raise Refusal(f"Invalid value specified for '{name}'. Time is in the future")
    return moment


def _count(query: Mapping[str, str], granularity: str, since: datetime | None, until: datetime | None) -> int:
    if since is not None and until is not None:
        if "count" in query:
            raise Refusal("'count' cannot be specified when 'to' and 'from' parameters are set")
        count = int((until - since) / INTERVALS[INTERVAL_OF[granularity]])
    else:
        try:
            count = int(query.get("count", _DEFAULT))
        except ValueError:
            count = 0
        if count < 1:
            raise Refusal("Invalid value specified for 'count'")
    if count > _MOST:
        raise Refusal("Maximum value for 'count' exceeded")
    return count
