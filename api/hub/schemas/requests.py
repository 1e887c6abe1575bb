"""Schemas of the events of clients. Unknown fields are refused: a typing error never passes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson
from marshmallow import RAISE, Schema, ValidationError, missing, validate
from marshmallow.fields import Dict, Field, Int, Nested, Raw, Str

from api.access.credentials import MAX_CREDENTIAL_BYTES
from api.errors import ErrorCode, Refusal
from api.fields import Flag, Number
from api.hub.transport.client_json import ATTACHMENT, TOO_DEEP, Unusable, problem_of, readable
from db.decimals import is_decimal
from db.topics import BOOK_DEPTHS

_MAX_ITEMS_PER_REQUEST = 1000
ALL = "all"
MAX_NAMED_FIELDS = 20  # refused fields in one answer
_JUDGED_ITEM_BY_ITEM = ("pairs", "candles", "books", "reports")  # lists of which a bad item is rejected by itself
SERIES = ("pair", "interval")  # fields of one series of candles
BOOK = ("pair", "depth")  # fields of one book
BESIDE_PAIRS = ("candles", "books", "heartbeat", "alerts")  # one of them makes `pairs` optional

# Values of alerts that clients set.
PRICE, VOLATILITY = "price", "volatility"
METRICS = (PRICE, VOLATILITY)
ABOVE, BELOW, CROSSES = ">", "<", "crosses"
OPERATORS = (ABOVE, BELOW, CROSSES)


class RequestSchema(Schema):
    """Base of all requests and of their parts."""

    class Meta:
        unknown = RAISE

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.error_messages["unknown"] = unknown_field(self.fields)


def unknown_field(names: Iterable[str]) -> str:
    """Return the problem of a field that is none of `names`."""
    accepted = ", ".join(names)
    return f"Unknown field: use {accepted}." if accepted else "Unknown field: this event takes none."


class Pairs(Field[Any]):
    """`"all"`, one instrument, or a list; becomes `"all"` or a list, judged item by item.

    Beside one of `BESIDE_PAIRS` the field may be missing: it becomes an empty list.
    """

    def deserialize(self, value: Any, attr: str | None = None, data: Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
        if value is missing and data and any(name in data for name in BESIDE_PAIRS):
            return []
        return super().deserialize(value, attr, data, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, str) and value:
            return ALL if value == ALL else [value]
        if not isinstance(value, list) or not value:
            raise ValidationError('Must be "all", an instrument, or a list of instruments with at least one item.')
        if len(value) > _MAX_ITEMS_PER_REQUEST:
            raise ValidationError(f"At most {_MAX_ITEMS_PER_REQUEST} instruments in one request.")
        return ALL if ALL in value else value


class ItemsField(Field[Any]):
    """A list of objects of two fields, judged item by item; may be `"all"` with `all_of_them`.

    With `all_of_them`, unknown fields of an item refuse the list: the answer has no `rejected`.
    """

    names: tuple[str, str]  # fields of an item
    noun: str  # of the items

    def __init__(self, *, all_of_them: bool = False, **kwargs: Any) -> None:
        super().__init__(load_default=list, **kwargs)
        self.all_of_them = all_of_them

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if self.all_of_them and value == ALL:
            return ALL
        if not isinstance(value, list) or not value:
            either = '"all" or ' if self.all_of_them else ""
            first, second = self.names
            raise ValidationError(f'Must be {either}a list of {{"{first}", "{second}"}} with at least one item.')
        if len(value) > _MAX_ITEMS_PER_REQUEST:
            raise ValidationError(f"At most {_MAX_ITEMS_PER_REQUEST} {self.noun} in one request.")
        if self.all_of_them and (
            problems := {place: unknown for place, item in enumerate(value) if (unknown := self._unknown_fields(item))}
        ):
            raise ValidationError(problems)
        return value

    def _unknown_fields(self, item: Any) -> dict[str, list[str]]:
        """Return field -> problem of the unknown fields of one item."""
        names = item if isinstance(item, dict) else ()
        return {name: [unknown_field(self.names)] for name in names if name not in self.names}


class CandleSeriesField(ItemsField):
    """A list of `{"pair", "interval"}`."""

    names = SERIES
    noun = "candles"


class BooksField(ItemsField):
    """A list of `{"pair", "depth"}`."""

    names = BOOK
    noun = "books"


def _alerts() -> Str:
    """Return the field of alerts: `"all"`, or missing."""
    return Str(load_default=None, allow_none=False, validate=validate.Equal(ALL, error=f'Must be "{ALL}".'))


class PositionSchema(RequestSchema):
    """The last message of an instrument that a client has received."""

    epoch = Str(required=True, validate=validate.Length(min=1, max=64))
    seq = Int(required=True, strict=True, validate=validate.Range(min=0, max=2**53))


class SubscribeSchema(RequestSchema):
    """`subscribe`"""

    pairs = Pairs(required=True)
    candles = CandleSeriesField()
    books = BooksField()
    heartbeat = Flag(load_default=False)
    alerts = _alerts()
    since = Dict(keys=Str(), values=Nested(PositionSchema), load_default=dict, validate=validate.Length(max=_MAX_ITEMS_PER_REQUEST))
    max_rate = Number(allow_none=True, load_default=None, validate=validate.Range(min=0.1, max=50))


class UnsubscribeSchema(RequestSchema):
    """`unsubscribe`"""

    pairs = Pairs(required=True)
    candles = CandleSeriesField(all_of_them=True)
    books = BooksField(all_of_them=True)
    heartbeat = Flag(load_default=False)
    alerts = _alerts()


class RequestPriceSchema(RequestSchema):
    """`request_price`"""

    instrument = Str(required=True, validate=validate.Length(min=1, max=64))


class RequestBookSchema(RequestSchema):
    """`request_book`"""

    instrument = Str(required=True, validate=validate.Length(min=1, max=64))
    depth = Int(required=True, strict=True, validate=validate.OneOf(BOOK_DEPTHS))


class PingSchema(RequestSchema):
    """`ping`: the timestamp may be any value and is returned unchanged."""

    timestamp = Raw(allow_none=True)


class Threshold(Field[Any]):
    """The positive value of an alert: a number, or a decimal string for `price`.

    Becomes the pair (value for the client, value for comparisons). The value for the client is a
    decimal string for `price`, a number for `volatility`.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str | float, Decimal]:
        number = None if isinstance(value, str) else Number().deserialize(value)
        if data.get("metric") == VOLATILITY:
            if number is None or number <= 0 or number != value:
                raise ValidationError("Must be a positive number that a double can hold.")
            return number, Decimal(repr(number))
        text = value if number is None else format(Decimal(repr(value)), "f")
        if not is_decimal(text) or not (decimal := Decimal(text)):
            raise ValidationError('Must be a positive decimal string such as "1.0945", or such a number.')
        return text, decimal


class SetAlertSchema(RequestSchema):
    """`set_alert`"""

    instrument = Str(required=True, validate=validate.Length(min=1, max=64))
    metric = Str(required=True, validate=validate.OneOf(METRICS))
    op = Str(required=True, validate=validate.OneOf(OPERATORS))
    value = Threshold(required=True)
    once = Flag(load_default=True)


class DeleteAlertSchema(RequestSchema):
    """`delete_alert`: one of the client's own, or `"all"`."""

    id = Str(required=True, validate=validate.Length(min=1, max=64))


class RefreshSchema(RequestSchema):
    """`refresh`: a new token of the same caller."""

    token = Str(required=True, validate=validate.Length(min=1, max=MAX_CREDENTIAL_BYTES))


class NothingSchema(RequestSchema):
    """For events without a payload."""


class UsualSubscriptions:
    """The results of equal requests of many clients, which come back at the same time.

    A usual request has pairs, and perhaps positions. Its text is the key. Such a text contains no
    fraction and no null, so that no other payload has the same one.
    """

    _MOST, _MAX_BYTES = 64, 4096

    def __init__(self) -> None:
        self._loaded: dict[bytes, dict[str, Any]] = {}  # text of a payload -> the result, which nobody changes

    def find(self, payload: Mapping[str, Any]) -> tuple[bytes | None, dict[str, Any] | None]:
        """Return the key of a payload, None if it is unusual, and the known result."""
        pairs = payload.get("pairs")
        if not payload.keys() <= {"pairs", "since"} or not (type(pairs) is str or (type(pairs) is list and set(map(type, pairs)) == {str})):
            return None, None
        try:
            text = orjson.dumps(payload)
        except TypeError:
            return None, None
        return (text if len(text) <= self._MAX_BYTES else None), self._loaded.get(text)

    def note(self, text: bytes, loaded: dict[str, Any]) -> None:
        """Keep a result."""
        if len(self._loaded) >= self._MOST:
            self._loaded.clear()
        self._loaded[text] = loaded


_usual = UsualSubscriptions()


def load(schema: Schema, arguments: Sequence[Any]) -> dict[str, Any]:
    """Validate the one payload of an event; a missing payload counts as an empty one.

    Clients may share the result: it must not be changed.
    """
    if len(arguments) == 1 and type(arguments[0]) is dict and isinstance(schema, SubscribeSchema):
        text, known = _usual.find(arguments[0])
        if known is None:
            known = _load(schema, arguments)
            if text is not None:
                _usual.note(text, known)
        return known
    return _load(schema, arguments)


def _load(schema: Schema, arguments: Sequence[Any]) -> dict[str, Any]:
    if len(arguments) > 1:
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "An event carries one payload.", {"payload": ["More than one argument."]})
    payload = arguments[0] if arguments and arguments[0] is not None else {}
    if isinstance(payload, Unusable):
        raise _invalid({payload.field: [payload.problem]})
    if not isinstance(payload, dict):
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "The payload is not an object.", {"payload": ["Not an object."]})
    if problems := {name: [problem] for name, value in payload.items() if (problem := _unusable(name, value))}:
        raise _invalid(problems)
    try:
        loaded: dict[str, Any] = schema.load(payload)
    except ValidationError as error:
        raise _invalid(error.messages_dict) from None
    return loaded


def _unusable(name: str, value: Any) -> str | None:
    """Return the problem of a value that refuses the whole event."""
    if name in _JUDGED_ITEM_BY_ITEM and isinstance(value, list):
        return next((problem for item in value if (problem := problem_of(item, depth=3)) in (TOO_DEEP, ATTACHMENT)), None)
    return problem_of(value, depth=2)


def _invalid(problems: Mapping[str, Any]) -> Refusal:
    """Return the refusal of a payload, given field -> problems."""
    details = _quotable(problems)
    return Refusal(ErrorCode.INVALID_PAYLOAD, f"Invalid {', '.join(details)}.", details)


def _quotable(problems: Any) -> Any:
    """Return the problems of fields for an answer.

    Names of fields come from the client: at most `MAX_NAMED_FIELDS`, cut, and Unicode text.
    """
    if not isinstance(problems, Mapping):
        return problems
    return {readable(str(name)): _quotable(each) for name, each in islice(problems.items(), MAX_NAMED_FIELDS)}
