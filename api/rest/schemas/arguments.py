"""What text in a query string may be, and what becomes of it."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError, validate
from marshmallow.fields import Str

from api.rest.schemas import paging
from db.listing.query import Listing
from db.timestamps import format_time, parse_time

# `2025-11-18T12:30:00+01:00` typed into a URL arrives with a space where the plus was.
_LOST_PLUS = re.compile(r"([T ]\d\d.*) (\d\d(:?\d\d)?)$")
PRINTABLE = validate.Regexp(r"^[^\x00-\x1f\x7f]{1,64}$", error="Must be 1 to 64 printable characters.")


class TimeArgument(Str):
    """An ISO 8601 time with `Z`, an offset, or none (UTC); becomes contract form."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return format_time(parse_time(_LOST_PLUS.sub(r"\1+\2", value)))
        except (TypeError, ValueError):
            raise ValidationError("Not an ISO 8601 time such as 2025-11-18T12:34:56.789123Z.") from None


class TokenArgument(Str):
    """A `next_page_token` of one listing; becomes a `paging.PageToken`."""

    def __init__(self, listing: Listing, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.listing = listing

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return paging.decode(self.listing, value)
        except ValueError:
            raise ValidationError("Not a next_page_token of this service.") from None


class SymbolList(Str):
    """Comma-separated symbols; becomes a list without repeats."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        names = list(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
        if not 1 <= len(names) <= 100:
            raise ValidationError("Must be 1 to 100 symbols, separated by commas.")
        for name in names:
            PRINTABLE(name)
        return names
