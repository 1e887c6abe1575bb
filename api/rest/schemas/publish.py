"""Body and answer of `POST /prices`. The body is read by `api.rest.published`, entry by entry."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, validate
from marshmallow.fields import Int, List, Nested, Str

from api.rest.batches import JSON, NDJSON, BatchForm
from api.rest.schemas.answers import about

MAX_PRICES = 500
MAX_BYTES = 256 * 1024
PRICES = BatchForm("prices", "a price", MAX_PRICES, MAX_BYTES)

_EXAMPLE = '{"instrument": "EUR_USD", "bid": "1.0945", "ask": "1.0947", "time": "2026-03-02T06:00:00.250Z"}\n'


class PublishedPriceSchema(Schema):
    """One price: `bid` and `ask`, or `mid` alone."""

    instrument = Str(required=True, metadata=about("Its name", example="EUR_USD"))
    bid = Str(metadata=about("Decimal string", example="1.0945"))
    ask = Str(metadata=about("Decimal string", example="1.0947"))
    mid = Str(metadata=about("Decimal string; halfway if it is missing. Alone, it is bid and ask as well"))
    time = Str(metadata=about("RFC 3339; the time of reception if it is missing", example="2026-03-02T06:00:00.250Z"))
    volume = Str(metadata=about("Decimal string", example="12"))


class PublishedPricesSchema(Schema):
    """A batch of prices."""

    prices = List(Nested(PublishedPriceSchema), required=True, validate=validate.Length(1, MAX_PRICES))


class RejectedPriceSchema(Schema):
    """A price that was not accepted."""

    index = Int(required=True, metadata=about("Its place in the batch, from 0 on"))
    code = Str(
        required=True,
        metadata=about(
            "`forbidden`, `invalid_payload` (shape), `unknown_instrument`, `not_a_decimal`, `time_too_old`, `time_in_future` or `bad_price`"
        ),
    )
    message = Str(required=True)


class PublishResultSchema(Schema):
    """The outcome for each price of the batch."""

    accepted = Int(required=True, metadata=about("Prices that were numbered and published"))
    duplicates = Int(required=True, metadata=about("Prices that were received before, in the last 15 minutes"))
    rejected = List(Nested(RejectedPriceSchema), required=True, metadata=about("The others, in the order of the batch"))


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"1 to {MAX_PRICES} prices, at most {MAX_BYTES // 1024} KiB. NDJSON has one price per line.",
        "content": {JSON: {"schema": PublishedPricesSchema}, NDJSON: {"schema": {"type": "string", "example": _EXAMPLE}}},
    }
}
