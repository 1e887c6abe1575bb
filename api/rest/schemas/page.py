"""Answer of `/config.json`."""

from __future__ import annotations

from marshmallow import Schema
from marshmallow.fields import Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_time


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
