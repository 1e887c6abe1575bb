"""Parses bodies into values.

A body that violates the protocol raises `KeyError`, `TypeError`, `ValueError` or `ArithmeticError`.
"""

from __future__ import annotations

from dataclasses import fields
from decimal import Decimal

from tickwire_client.book_messages import BookState, ScenarioChanged, ServerHeartbeat
from tickwire_client.messages import (
    Alert,
    AlertTriggered,
    Body,
    CandleUpdate,
    Connected,
    CorrelationAlert,
    CredentialsExpiring,
    DataReady,
    InstrumentsChanged,
    Problem,
    Quote,
    Refreshed,
    Tick,
    VolatilityAlert,
    optional_time,
    parse_time,
)


def quote(instrument: str, price: Body) -> Quote:
    """From `{"bid", "ask", "mid", "time"}`."""
    return Quote(instrument, Decimal(price["bid"]), Decimal(price["ask"]), Decimal(price["mid"]), parse_time(price["time"]))


def tick(body: Body, *, snapshot: bool = False) -> Tick:
    """From a `price_update`."""
    price = quote(body["instrument"], body["price"])
    position = optional_time(body.get("timestamp")), body.get("seq"), body.get("epoch")
    return Tick(price.instrument, price.bid, price.ask, price.mid, price.time, *position, snapshot)


def stored_tick(row: Body) -> Tick:
    """From a row of `/ticks`."""
    price = quote(row["symbol"], row)
    return Tick(price.instrument, price.bid, price.ask, price.mid, price.time, parse_time(row["received"]), row["seq"], row["epoch"])


def candle(body: Body) -> CandleUpdate:
    """From a `candle_update`."""
    candle = body["candle"]
    return CandleUpdate(
        instrument=body["instrument"],
        interval=body["interval"],
        start_time=parse_time(candle["start_time"]),
        end_time=parse_time(candle["end_time"]),
        open=Decimal(candle["open"]),
        high=Decimal(candle["high"]),
        low=Decimal(candle["low"]),
        close=Decimal(candle["close"]),
        volume=Decimal(candle["volume"]),
        trades=candle.get("trades"),
        complete=candle["complete"],
        timestamp=optional_time(body.get("timestamp")),
        seq=body.get("seq"),
        epoch=body.get("epoch"),
    )


def alert(body: Body) -> Alert:
    """From the `alert` of an `alert_set`, or one of `alerts_list`."""
    value = _value(body["metric"], body["value"])
    return Alert(body["id"], body["instrument"], body["metric"], body["op"], value, body["once"])


def alert_triggered(body: Body) -> AlertTriggered:
    """From an `alert_triggered`."""
    return AlertTriggered(
        id=body["id"],
        instrument=body["instrument"],
        metric=body["metric"],
        op=body["op"],
        value=_value(body["metric"], body["value"]),
        current=_value(body["metric"], body["current"]),
        time=parse_time(body["time"]),
        once=body["once"],
        timestamp=optional_time(body.get("timestamp")),
        seq=body.get("seq"),
        epoch=body.get("epoch"),
    )


def volatility_alert(body: Body) -> VolatilityAlert:
    """From a `volatility_alert`."""
    fields = body["instrument"], body["volatility"], body.get("threshold"), body["severity"], body.get("message")
    return VolatilityAlert(*fields, optional_time(body.get("timestamp")))


def correlation_alert(body: Body) -> CorrelationAlert:
    """From a `correlation_alert`."""
    return CorrelationAlert(
        instrument1=body["instrument1"],
        instrument2=body["instrument2"],
        correlation=body["correlation"],
        previous_correlation=body.get("previous_correlation"),
        change=body.get("change"),
        threshold=body.get("threshold"),
        severity=body.get("severity"),
        message=body.get("message"),
        timestamp=optional_time(body.get("timestamp")),
    )


def data_ready(body: Body) -> DataReady:
    """From a `data_ready`."""
    times = optional_time(body.get("as_of")), optional_time(body.get("timestamp"))
    return DataReady(body["data_type"], tuple(body.get("instruments") or ()), *times)


def instruments_changed(body: Body) -> InstrumentsChanged:
    """From an `instruments_changed`."""
    return InstrumentsChanged(tuple(body["added"]), tuple(body["removed"]), body["count"], optional_time(body.get("timestamp")))


def book_state(body: Body) -> BookState:
    """From a `book_state`."""
    ids = body["update_id"], body["expected_id"], body["received_id"]
    change = body["instrument"], body["state"], body["previous"], body["reason"]
    return BookState(*change, *ids, parse_time(body["timestamp"]), body["seq"], body["epoch"])


def heartbeat(body: Body) -> ServerHeartbeat:
    """From a `heartbeat`."""
    times = {"last_heartbeat": parse_time(body["last_heartbeat"]), "timestamp": parse_time(body["timestamp"])}
    values: Body = {field.name: body[field.name] for field in fields(ServerHeartbeat)}
    return ServerHeartbeat(**{**values, **times})


def scenario_changed(body: Body) -> ScenarioChanged:
    """From a `scenario_changed`."""
    change = body["previous_scenario"], body["current_scenario"], body["run_id"]
    return ScenarioChanged(*change, parse_time(body["timestamp"]), body["seq"], body["epoch"])


def connected(body: Body, *, again: bool) -> Connected:
    """From a `connection_established`."""
    scopes = body.get("scopes")
    rights = body.get("key_id"), None if scopes is None else tuple(scopes), optional_time(body.get("expires_at"))
    return Connected(body["client_id"], tuple(body["available_pairs"]), again, *rights)


def credentials_expiring(body: Body) -> CredentialsExpiring:
    """From a `credentials_expiring`."""
    return CredentialsExpiring(parse_time(body["expires_at"]), float(body["in_seconds"]))


def refreshed(body: Body) -> Refreshed:
    """From a `refreshed`."""
    lists = tuple(body["scopes"]), tuple(body["instruments"]), tuple(body["removed"])
    return Refreshed(optional_time(body.get("expires_at")), *lists)


def problem(body: Body) -> Problem:
    """From an `error`."""
    return Problem(body["code"], body["message"], body.get("details") or {})


def _value(metric: str, value: str | float) -> Decimal | float:
    return Decimal(str(value)) if metric == "price" else float(value)
