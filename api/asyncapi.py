"""The AsyncAPI 3 document of the hub, made from its tables of channels and events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from marshmallow import Schema
from marshmallow.fields import Field

from api.fields import DecimalText, Flag, TimeText
from api.hub.channels import CHANNELS, Channel
from api.hub.events import CLIENT_EVENTS, MAIN, ClientEvent, namespaces
from api.hub.schemas import plain_books
from api.hub.schemas.answers import GREETING, NOTICES, HubEvent
from api.hub.schemas.books import LevelField
from api.hub.schemas.metrics import CHANNEL_NAMES, ChannelNames, ReportList
from api.hub.schemas.requests import ALL, BESIDE_PAIRS, BooksField, CandleSeriesField, ItemsField, Pairs, RequestSchema, Threshold
from api.schemas.report_documents import ReportSchema
from api.schemas.reports import MAX_REPORTS
from db.decimals import DECIMAL
from db.intervals import INTERVALS
from db.topics import BOOK_DEPTHS

_SERIES: dict[str, Any] = {
    "type": "object",
    "required": ["pair", "interval"],
    "additionalProperties": False,
    "properties": {"pair": {"type": "string"}, "interval": {"type": "string", "enum": list(INTERVALS)}},
}
_BOOK: dict[str, Any] = {
    "type": "object",
    "required": ["pair", "depth"],
    "additionalProperties": False,
    "properties": {"pair": {"type": "string"}, "depth": {"type": "integer", "enum": list(BOOK_DEPTHS)}},
}
# field class of ours -> JSON Schema; apispec converts marshmallow's own fields only
FORMS: dict[type[Field[Any]], dict[str, Any]] = {
    DecimalText: {"pattern": f"^{DECIMAL}$", "examples": ["1.0945"]},
    TimeText: {"format": "date-time"},
    Flag: {"type": "boolean"},
    Pairs: {
        "description": f'`"{ALL}"`, one instrument, or a list; each is judged separately. Optional beside '
        f"{', '.join(f'`{name}`' for name in BESIDE_PAIRS[:-1])} or `{BESIDE_PAIRS[-1]}`",
        "oneOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": "string"}}],
    },
    CandleSeriesField: {
        "description": "A list of series; each is judged separately",
        "type": "array",
        "minItems": 1,
        "items": _SERIES,
    },
    BooksField: {
        "description": "A list of books; each is judged separately",
        "type": "array",
        "minItems": 1,
        "items": _BOOK,
    },
    LevelField: {
        "description": "Price and quantity",
        "type": "array",
        "minItems": 2,
        "maxItems": 2,
        "items": {"type": "string", "pattern": f"^{DECIMAL}$"},
    },
    ChannelNames: {
        "description": f'`"{ALL}"`, one channel, or a list',
        "oneOf": [
            {"type": "string", "enum": [*CHANNEL_NAMES, ALL]},
            {"type": "array", "minItems": 1, "items": {"type": "string", "enum": [*CHANNEL_NAMES, ALL]}},
        ],
    },
    ReportList: {
        "description": "Reports as in the schema `Report`; a bad one is rejected by itself",
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_REPORTS,
    },
    Threshold: {
        "description": "Positive: a decimal string or a number for `price`, a number for `volatility`",
        "oneOf": [{"type": "string", "pattern": f"^{DECIMAL}$"}, {"type": "number", "exclusiveMinimum": 0}],
    },
}

_DESCRIPTION = (
    "Market data over Socket.IO (protocol 5, over WebSocket or long-polling). A message is an event with one JSON object. The hub answers "
    "each event of a client with an event and, if the client requests one, with an ack that has the same body. The answer is `error` if "
    "the request was refused. A credential is an API key or a JSON Web Token: in a header of the handshake, or in the payload of CONNECT "
    'as `{"token": …}` or `{"api_key": …}`. `x-scope` of an operation is the right that it needs.'
)

_SECURITY: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key or a JSON Web Token, in the handshake"},
    "key": {"type": "httpApiKey", "in": "header", "name": "X-API-Key", "description": "An API key, in the handshake"},
}


def _name(schema: type[Schema] | Schema) -> str:
    cls = schema if isinstance(schema, type) else type(schema)
    return str(getattr(cls, "component_name", cls.__name__.removesuffix("Schema")))


_REQUESTS = {_name(schema) for schema in RequestSchema.__subclasses__()}  # they take no unknown fields


def document(version: str, host: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0.0 document of a hub at `host` (`HOST:PORT`).

    Operations are described from the side of the hub.
    """
    messages = {_prefix(each) + event: (event, schema) for each in namespaces() for event, schema in _bodies(each).items()}
    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Tickwire", "version": version, "description": _DESCRIPTION, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "servers": {
            "hub": {
                "host": "{host}",
                "pathname": "/socket.io/",
                "protocol": "ws",
                "description": "Address for Socket.IO clients",
                "security": security,
                "variables": {"host": {"default": host, "description": "Behind a proxy, the address of the proxy"}},
            },
            plain_books.CHANNEL: {**plain_books.server(host), "security": security},
        },
        "channels": {
            **{_channel(namespace): _describe(namespace) for namespace in namespaces()},
            plain_books.CHANNEL: plain_books.channel(),
        },
        "operations": {
            **{key: operation for namespace in namespaces() for key, operation in _operations(namespace).items()},
            **plain_books.operations(),
        },
        "components": {
            "messages": {**{key: _message(*message) for key, message in messages.items()}, **plain_books.messages()},
            "schemas": _schemas([*(schema for _, schema in messages.values()), ReportSchema, *plain_books.SCHEMAS]),
            "securitySchemes": _SECURITY,
        },
    }


def requests(namespace: str = MAIN) -> dict[str, type[Schema]]:
    """Return the body of each event that clients of the namespace may send."""
    return {row.name: type(row.request) for row in _client_events(namespace)}


def answers(namespace: str = MAIN) -> dict[str, type[Schema]]:
    """Return the body of each event that the hub sends in the namespace."""
    return {
        **{event: row.schema for event, row in _own_events(GREETING, namespace).items()},
        **{row.answer: row.answer_schema for row in _client_events(namespace)},
        **{row.event: row.answer_schema for row in _channels(namespace)},
        **{event: row.schema for event, row in _own_events(NOTICES, namespace).items()},
    }


def broadcasts(namespace: str = MAIN) -> dict[str, str]:
    """Return the events of the namespace that answer no request, each with its receivers."""
    return {
        **{event: row.audience for event, row in _own_events(GREETING, namespace).items()},
        **{row.event: row.audience for row in _channels(namespace)},
        **{event: row.audience for event, row in _own_events(NOTICES, namespace).items()},
    }


def scopes(namespace: str = MAIN) -> dict[str, str]:
    """Return the scope of the receivers of each event in `broadcasts`; `OPEN` is any client."""
    return {
        **{event: row.scope for event, row in _own_events(GREETING, namespace).items()},
        **{row.event: row.scope for row in _channels(namespace)},
        **{event: row.scope for event, row in _own_events(NOTICES, namespace).items()},
    }


def _bodies(namespace: str) -> dict[str, type[Schema]]:
    return {**requests(namespace), **answers(namespace)}


def _client_events(namespace: str) -> list[ClientEvent]:
    return [row for row in CLIENT_EVENTS.values() if row.namespace == namespace]


def _channels(namespace: str) -> list[Channel]:
    return [row for row in CHANNELS.values() if row.namespace == namespace]


def _own_events(rows: Mapping[str, HubEvent], namespace: str) -> dict[str, HubEvent]:
    return {event: row for event, row in rows.items() if row.everywhere or namespace == row.namespace}


def _channel(namespace: str) -> str:
    """Return the key of a namespace among the channels of the document."""
    return "hub" if namespace == MAIN else namespace.strip("/")


def _prefix(namespace: str) -> str:
    """Return the prefix of the names of a namespace: another one may have the same events."""
    return "" if namespace == MAIN else f"{_channel(namespace)}."


def _describe(namespace: str) -> dict[str, Any]:
    return {
        "address": namespace,
        "title": "The namespace of market data" if namespace == MAIN else f"The namespace {namespace}",
        "servers": [{"$ref": "#/servers/hub"}],
        "messages": {event: {"$ref": f"#/components/messages/{_prefix(namespace)}{event}"} for event in _bodies(namespace)},
    }


def _operations(namespace: str) -> dict[str, Any]:
    """Return the requests with their replies, then the broadcasts, of one namespace."""
    name, prefix = _channel(namespace), _prefix(namespace)
    channel = {"$ref": f"#/channels/{name}"}
    received = {
        prefix + row.name: {
            "action": "receive",
            "channel": channel,
            "messages": [_of_channel(name, row.name)],
            "reply": {"channel": channel, "messages": [_of_channel(name, row.answer), _of_channel(name, "error")]},
            **_scope(row.scope),
        }
        for row in _client_events(namespace)
    }
    needed = scopes(namespace)
    sent = {
        prefix + event: {
            "action": "send",
            "channel": channel,
            "messages": [_of_channel(name, event)],
            "description": audience,
            **_scope(needed[event]),
        }
        for event, audience in broadcasts(namespace).items()
    }
    return {**received, **sent}


def _scope(scope: str) -> dict[str, str]:
    return {"x-scope": scope} if scope else {}


def _of_channel(channel: str, event: str) -> dict[str, str]:
    return {"$ref": f"#/channels/{channel}/messages/{event}"}


def _message(event: str, schema: type[Schema]) -> dict[str, Any]:
    return {"name": event, "summary": _first_line(schema), "payload": {"$ref": f"#/components/schemas/{_name(schema)}"}}


def _first_line(schema: type[Schema]) -> str:
    return (schema.__doc__ or schema.__name__).strip().splitlines()[0]


def _schemas(schemas: Iterable[type[Schema]]) -> dict[str, Any]:
    """Return the JSON Schema of these schemas and of all nested ones, by name."""
    plugin = MarshmallowPlugin(schema_name_resolver=_resolve)
    # From version 3.1 on, the schemas of OpenAPI are JSON Schema.
    spec = APISpec(title="", version="", openapi_version="3.1.0", plugins=[plugin])
    assert plugin.converter is not None  # noqa: S101 - APISpec has just made it
    plugin.converter.add_attribute_function(_form)  # type: ignore[no-untyped-call]
    for schema in dict.fromkeys(schemas):
        if _name(schema) not in spec.components.schemas:  # already nested in an earlier one
            spec.components.schema(_name(schema), schema=schema)
    described: dict[str, Any] = spec.to_dict()["components"]["schemas"]
    for name, each in described.items():
        if name not in _REQUESTS and each.get("additionalProperties") is False:
            del each["additionalProperties"]  # answers may grow
        _mend(each)
    return described


def _resolve(schema: Any) -> str:
    return _name(schema)


def _form(converter: Any, field: Field[Any], **_: Any) -> dict[str, Any]:
    """Return the JSON Schema of a field of ours; apispec passes its converter first."""
    form = next((form for kind, form in FORMS.items() if isinstance(field, kind)), {})
    if isinstance(field, ItemsField) and field.all_of_them:
        return {"description": f'{form["description"]}, or `"{ALL}"`', "oneOf": [{"const": ALL}, _without_description(form)]}
    return form


def _without_description(form: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in form.items() if key != "description"}


def _mend(schema: dict[str, Any]) -> None:
    """Correct in place the parts that apispec cannot derive."""
    for field in schema["properties"].values():
        if field.get("type") == "object" and "maxLength" in field:
            field["maxProperties"] = field.pop("maxLength")
    if {"pairs", "candles"} <= set(schema["properties"]) and schema.get("required") == ["pairs"]:
        del schema["required"]
        schema["anyOf"] = [{"required": [name]} for name in ("pairs", *BESIDE_PAIRS)]
