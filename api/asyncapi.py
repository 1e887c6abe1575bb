"""The AsyncAPI 3 document of the hub, made from the schemas of its events."""

from __future__ import annotations

from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from marshmallow.fields import Field

from api.fields import DecimalText, Flag, TimeText
from api.hub.schemas.answers import ANSWERS, REQUESTS
from api.hub.schemas.requests import ALL, CandleSeriesField, Pairs, Threshold
from db.decimals import DECIMAL
from db.intervals import INTERVALS

_SERIES: dict[str, Any] = {
    "type": "object",
    "required": ["pair", "interval"],
    "properties": {"pair": {"type": "string"}, "interval": {"type": "string", "enum": list(INTERVALS)}},
}
# Fields of ours -> what JSON Schema says of them: apispec knows marshmallow's own alone.
FORMS: dict[type[Field[Any]], dict[str, Any]] = {
    DecimalText: {"pattern": f"^{DECIMAL}$", "examples": ["1.0945"]},
    TimeText: {"format": "date-time"},
    Flag: {"type": "boolean"},
    Pairs: {
        "description": f'`"{ALL}"`, one instrument, or a list of them, each of which is judged by itself. Not needed beside `candles`',
        "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}],
    },
    CandleSeriesField: {
        "description": "A list of series, each of which is judged by itself",
        "type": "array",
        "minItems": 1,
        "items": _SERIES,
    },
    Threshold: {
        "description": "Positive: a decimal string or a number for `price`, a number for `volatility`",
        "oneOf": [{"type": "string", "pattern": f"^{DECIMAL}$"}, {"type": "number", "exclusiveMinimum": 0}],
    },
}

# events that nobody asks for, at that moment: -> who gets them
BROADCASTS = {
    "connection_established": "A client that has just connected",
    "price_update": "Clients that hold the instrument",
    "candle_update": "Clients that hold the candles",
    "volatility_alert": "Clients that hold the instrument",
    "correlation_alert": "Clients that hold either instrument, once",
    "data_ready": "Everyone",
    "alert_triggered": "The client whose alert it is",
    "gap_notice": "A client that had not kept up",
    "error": "The client whose request was refused; everyone, with `unavailable`, before the hub goes away",
}
_DESCRIPTION = (
    "Market data over Socket.IO (protocol 5, over WebSocket or long-polling). A message is an event of the namespace `/` with one JSON "
    "object. Whatever a client asks is answered by an event and, where it wants one, by an ack with the same body; either is `error` where "
    "it was refused."
)


def document(version: str, host: str) -> dict[str, Any]:
    """The document of a hub at `host` (`HOST:PORT`), as AsyncAPI 3.0.0 has it. Operations are told from the hub's side."""
    bodies = {**{event: schema for event, (schema, _) in REQUESTS.items()}, **ANSWERS}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tickwire", "version": version, "description": _DESCRIPTION, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "servers": {
            "hub": {
                "host": host,
                "pathname": "/socket.io/",
                "protocol": "ws",
                "description": "Socket.IO's own clients take it from here; behind a proxy it is the proxy's address",
            }
        },
        "channels": {
            "hub": {
                "address": "/",
                "title": "The namespace of all events",
                "servers": [{"$ref": "#/servers/hub"}],
                "messages": {event: {"$ref": f"#/components/messages/{event}"} for event in bodies},
            }
        },
        "operations": {**_asked(), **_told()},
        "components": {
            "messages": {event: _message(event, schema) for event, schema in bodies.items()},
            "schemas": _schemas(bodies.values()),
        },
    }


def _asked() -> dict[str, Any]:
    """What clients ask for, and the answers."""
    return {
        event: {
            "action": "receive",
            "channel": {"$ref": "#/channels/hub"},
            "messages": [_of_channel(event)],
            "reply": {"channel": {"$ref": "#/channels/hub"}, "messages": [_of_channel(answer), _of_channel("error")]},
        }
        for event, (_, answer) in REQUESTS.items()
    }


def _told() -> dict[str, Any]:
    """What clients hear without having asked just then."""
    return {
        event: {"action": "send", "channel": {"$ref": "#/channels/hub"}, "messages": [_of_channel(event)], "description": whom}
        for event, whom in BROADCASTS.items()
    }


def _of_channel(event: str) -> dict[str, str]:
    return {"$ref": f"#/channels/hub/messages/{event}"}


def _message(event: str, schema: type[Schema]) -> dict[str, Any]:
    return {"name": event, "summary": _first_line(schema), "payload": {"$ref": f"#/components/schemas/{_name(schema)}"}}


def _first_line(schema: type[Schema]) -> str:
    return (schema.__doc__ or schema.__name__).strip().splitlines()[0]


def _name(schema: type[Schema] | Schema) -> str:
    cls = schema if isinstance(schema, type) else type(schema)
    return str(getattr(cls, "component_name", cls.__name__.removesuffix("Schema")))


def _schemas(schemas: Any) -> dict[str, Any]:
    """JSON Schema of these and of all that is nested in them, by name."""
    plugin = MarshmallowPlugin(schema_name_resolver=_resolve)
    spec = APISpec(title="", version="", openapi_version="3.1.0", plugins=[plugin])  # 3.1: the version whose schemas are JSON Schema
    assert plugin.converter is not None  # noqa: S101 - APISpec has just made it
    plugin.converter.add_attribute_function(_form)  # type: ignore[no-untyped-call]
    for schema in dict.fromkeys(schemas):
        if _name(schema) not in spec.components.schemas:  # nested in one of those before
            spec.components.schema(_name(schema), schema=schema)
    described: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    for each in described.values():
        _mend(each)
    return described


def _resolve(schema: Any) -> str:
    return _name(schema)


def _form(converter: Any, field: Field[Any], **_: Any) -> dict[str, Any]:
    """What JSON Schema says of a field of ours; bound to apispec's converter, which is the first argument."""
    form = next((form for kind, form in FORMS.items() if isinstance(field, kind)), {})
    if isinstance(field, CandleSeriesField) and field.all_of_them:
        return {"description": f'{form["description"]}, or `"{ALL}"`', "oneOf": [{"const": ALL}, _without_description(form)]}
    return form


def _without_description(form: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in form.items() if key != "description"}


def _mend(schema: dict[str, Any]) -> None:
    """Say what apispec gets wrong or cannot know."""
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]  # answers may grow
    for field in schema["properties"].values():
        if field.get("type") == "object" and "maxLength" in field:
            field["maxProperties"] = field.pop("maxLength")
    if {"pairs", "candles"} <= set(schema["properties"]) and schema.get("required") == ["pairs"]:
        del schema["required"]
        schema["anyOf"] = [{"required": ["pairs"]}, {"required": ["candles"]}]
