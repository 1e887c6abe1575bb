"""Arguments and answer of `/symbols`."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import Schema
from marshmallow.fields import Bool, Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about
from api.rest.schemas.arguments import QuerySchema
from api.rest.schemas.dashboard import STALE_AFTER
from api.rest.schemas.listings import choice


@dataclass(frozen=True, slots=True)
class SymbolsQuery:
    """A request for the enabled instruments, or for all."""

    all: str


class SymbolsQuerySchema(QuerySchema):
    """The selection of instruments."""

    makes = SymbolsQuery

    all = choice(("true", "false"), "`true`: disabled instruments too", load_default="false")


class SymbolSchema(Schema):
    """One instrument."""

    symbol = Str(required=True, metadata=about("Its name in all answers", example="EUR_USD"))
    name = Str(required=True)
    kind = Str(required=True, metadata=about("`fx`, `metal`, `commodity`, `index`, `bond`, `crypto`, `equity` or `other`"))
    precision = Int(required=True, metadata=about("Decimals of its prices"))
    currency = Str(required=True, metadata=about("Of its prices", example="USD"))
    calendar = Str(required=True, metadata=about("Its market's hours: `fx`, `equity` or `crypto` (always open)"))
    source = Str(required=True, metadata=about("Its source in production"))
    fed_by = NullableText("The configured source that feeds it now, null if none does", example="synthetic")
    enabled = Bool(required=True, metadata=about("False: it has no new prices, and the hub treats it as unknown"))
    market_open = Bool(required=True, metadata=about("True while its market is open, by the market's calendar"))
    stale_after = Int(required=True, metadata=STALE_AFTER)
    last_price_time = NullableText("Source time of its latest price, null without one", format="date-time")


class SymbolsSchema(Schema):
    """The instruments by kind and name."""

    symbols = List(Nested(SymbolSchema), required=True)
    count = Int(required=True)
