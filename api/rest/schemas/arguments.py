"""Fields of query strings, and the base of the schemas that make a query of them."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, post_load, validate
from marshmallow.fields import Str

from api.rest.schemas import paging
from db.listing.query import Listing
from db.timestamps import format_time, parse_time

# `2025-11-18T12:30:00+01:00` typed into a URL arrives with a space in place of the plus.
_LOST_PLUS = re.compile(r"([Tt ]\d\d:.*) (\d\d:\d\d)$", re.ASCII)
_TIME_FORM = "Not a time: use YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, then optionally .digits and Z or +HH:MM."
PRINTABLE = validate.Regexp(r"^[^\x00-\x1f\x7f]{1,64}$", error="Must be 1 to 64 printable characters.")


class QuerySchema(Schema):
    """Loads a dataclass, `makes`, whose fields have the names of the arguments."""

    makes: ClassVar[type]

    @post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Any:
        return self.makes(**data)


class TimeArgument(Str):
    """A time in the grammar of `parse_time`; becomes contract form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return format_time(parse_time(_LOST_PLUS.sub(r"\1+\2", value)))
        except (TypeError, ValueError):
            raise ValidationError(_TIME_FORM) from None


class TokenArgument(Str):
    """A `next_page_token` of one listing; becomes a `PageToken`."""

    def __init__(self, listing: Listing, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.listing = listing

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return paging.decode(self.listing, value)
        except ValueError:
            raise ValidationError("Not a next_page_token of this service.") from None


class SymbolList(Str):
    """Comma-separated symbols; becomes a tuple without repeats."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        names = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
        if not 1 <= len(names) <= 100:
            raise ValidationError("Must be 1 to 100 symbols, separated by commas.")
        for name in names:
            PRINTABLE(name)
        return names
