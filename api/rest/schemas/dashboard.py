"""Answers of the routes that the dashboard needs: `/config.json` and `/market`."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import Schema
from marshmallow.fields import Bool, Dict, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_decimal, output_time
from api.rest.schemas.arguments import QuerySchema, SymbolList

STALE_AFTER = about("Seconds without a price after which it counts as stale while its market is open", minimum=15, example=15)


class HubAddressSchema(Schema):
    """The hub as browsers reach it."""

    url = NullableText("`HUB_PUBLIC_URL`", example="https://hub.example.com")
    port = Int(required=True, metadata=about("`WEBSOCKET_PORT`, of the host of the page if `url` is null", example=5001))


class RetentionSchema(Schema):
    """Days that rows are kept; 0 is for ever."""

    prices = Int(required=True)
    trades = Int(required=True)
    candles = Int(required=True)


class ConfigurationSchema(Schema):
    """Settings that the dashboard needs."""

    version = Str(required=True)
    api_port = Int(required=True, metadata=about("`API_PORT`: a page at another port came through a proxy"))
    hub = Nested(HubAddressSchema, required=True)
    metrics_socket = Str(required=True, metadata=about("URL of the plain WebSocket with metrics, at the hub"))
    book_socket = Str(required=True, metadata=about("URL of the plain WebSocket with order books, at the hub"))
    auth = Str(required=True, metadata=about("`optional` (anonymous access), `required` or `off` (nothing is checked)"))
    features = List(Str(), required=True, metadata=about("Enabled parts: `market`, `book`, `trading`, `scenarios`"))
    simulated = NullableText("`scenario` or `replay` if a source is not live")
    retention_days = Nested(RetentionSchema, required=True)
    timestamp = output_time("Time of the answer")


@dataclass(frozen=True, slots=True)
class MarketQuery:
    """A request for all readable instruments, or for `symbols`."""

    symbols: tuple[str, ...] | None = None


class MarketQuerySchema(QuerySchema):
    """The selection of instruments."""

    makes = MarketQuery

    symbols = SymbolList(metadata=about("Instruments, separated by commas; without it all that you may read", example="EUR_USD,BTCUSDT"))


class DaySchema(Schema):
    """The running `1d` candle."""

    start_time = output_time("Its start")
    end_time = output_time("Its end, exclusive: an FX day ends at 17:00 New York, others at 00:00 UTC")
    open = output_decimal("First mid")
    high = output_decimal("Highest mid")
    low = output_decimal("Lowest mid")


class MarketEntrySchema(Schema):
    """One instrument. The fields of the price are null without a price."""

    bid = NullableText("Bid, a decimal string", example="1.09438")
    ask = NullableText("Ask, a decimal string", example="1.09452")
    mid = NullableText("Mid, a decimal string", example="1.09445")
    time = NullableText("Source time of the price", format="date-time")
    timestamp = NullableText("Time at which the bus accepted it", format="date-time")
    seq = Int(required=True, allow_none=True, metadata=about("Its number on the bus"))
    epoch = NullableText("Epoch of `seq`")
    market_open = Bool(required=True, metadata=about("True while its market is open, by the market's calendar"))
    stale_after = Int(required=True, metadata=STALE_AFTER)
    reference = NullableText("Close of the last complete `1d` candle, null if there is none", example="1.09310")
    day = Nested(DaySchema, required=True, allow_none=True, metadata=about("The running `1d` candle, null if there is none"))
    spark = List(Str(), required=True, metadata=about("Closes of the last 24 complete `1h` candles, oldest first", maxItems=24))


class MarketSchema(Schema):
    """Symbol to newest price and figures of its candles."""

    instruments = Dict(keys=Str(), values=Nested(MarketEntrySchema), required=True)
    count = Int(required=True)
    timestamp = output_time("Time of the computation")
