"""From bodies to values. A body that is not what the protocol says raises `KeyError`, `TypeError`, `ValueError` or `ArithmeticError`."""

from __future__ import annotations

from decimal import Decimal

from tickwire_client.messages import (
    Alert,
    AlertTriggered,
    Body,
    CandleUpdate,
    Connected,
    CorrelationAlert,
    DataReady,
    Problem,
    Quote,
    Tick,
    VolatilityAlert,
    maybe_time,
    parse_time,
)


def quote(instrument: str, price: Body) -> Quote:
    """From `{"bid", "ask", "mid", "time"}`."""
    return Quote(instrument, Decimal(price["bid"]), Decimal(price["ask"]), Decimal(price["mid"]), parse_time(price["time"]))


def tick(body: Body, *, snapshot: bool = False) -> Tick:
    """From a `price_update`."""
    price = quote(body["instrument"], body["price"])
    place = maybe_time(body.get("timestamp")), body.get("seq"), body.get("epoch")
    return Tick(price.instrument, price.bid, price.ask, price.mid, price.time, *place, snapshot)


def stored_tick(row: Body) -> Tick:
    """From a row of `/ticks`."""
    price = quote(row["symbol"], row)
    return Tick(price.instrument, price.bid, price.ask, price.mid, price.time, parse_time(row["received"]), row["seq"], row["epoch"])


def candle(body: Body) -> CandleUpdate:
    """From a `candle_update`."""
    candle = body["candle"]
    times = parse_time(candle["start_time"]), parse_time(candle["end_time"])
    numbers = [Decimal(candle[name]) for name in ("open", "high", "low", "close", "volume")]
    rest = candle.get("trades"), candle["complete"], maybe_time(body.get("timestamp")), body.get("seq"), body.get("epoch")
    return CandleUpdate(body["instrument"], body["interval"], *times, *numbers, *rest)


def alert(body: Body) -> Alert:
    """From the `alert` of an `alert_set`, or one of `alerts_list`."""
    value = _value(body["metric"], body["value"])
    return Alert(body["id"], body["instrument"], body["metric"], body["op"], value, body["once"])


def alert_triggered(body: Body) -> AlertTriggered:
    """From an `alert_triggered`."""
    metric = body["metric"]
    values = _value(metric, body["value"]), _value(metric, body["current"])
    rest = parse_time(body["time"]), body["once"], maybe_time(body.get("timestamp")), body.get("seq"), body.get("epoch")
    return AlertTriggered(body["id"], body["instrument"], metric, body["op"], *values, *rest)


def volatility_alert(body: Body) -> VolatilityAlert:
    """From a `volatility_alert`."""
    said = body["instrument"], body["volatility"], body.get("threshold"), body["severity"], body.get("message")
    return VolatilityAlert(*said, maybe_time(body.get("timestamp")))


def correlation_alert(body: Body) -> CorrelationAlert:
    """From a `correlation_alert`."""
    optional = [body.get(name) for name in ("previous_correlation", "change", "threshold")]
    words = body.get("severity"), body.get("message")
    return CorrelationAlert(body["instrument1"], body["instrument2"], body["correlation"], *optional, *words, maybe_time(body.get("timestamp")))


def data_ready(body: Body) -> DataReady:
    """From a `data_ready`."""
    times = maybe_time(body.get("as_of")), maybe_time(body.get("timestamp"))
    return DataReady(body["data_type"], tuple(body.get("instruments") or ()), *times)


def connected(body: Body, *, again: bool) -> Connected:
    """From a `connection_established`."""
    return Connected(body["client_id"], tuple(body["available_pairs"]), again)


def problem(body: Body) -> Problem:
    """From an `error`."""
    return Problem(body["code"], body["message"], body.get("details") or {})


def _value(metric: str, value: str | float) -> Decimal | float:
    return Decimal(str(value)) if metric == "price" else float(value)
