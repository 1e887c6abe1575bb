"""Fields of query strings, and the base of the schemas that make a query of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, post_load, validate
from marshmallow.fields import Str

from api.rest.schemas import paging
from db.listing.query import Listing
from db.timestamps import format_time, parse_time

# `2025-11-18T12:30:00+01:00` typed into a URL arrives with a space in place of the plus.
_LOST_PLUS = re.compile(r"([Tt ]\d\d:.*) (\d\d:\d\d)$", re.ASCII)
_TIME_FORM = "Not a time: use YYYY-MM-DD or YYYY-MM-DDTHH:MM:SS, then optionally .digits and Z or +HH:MM."
_MAX_SYMBOLS = 100
_NAME = r"[^\x00-\x1f\x7f]{1,64}"
_NAME_WITHOUT_COMMA = r"[^\x00-\x1f\x7f,]{1,64}"
_NAME_IN_LIST = r"[^\x00-\x20\x7f,][^\x00-\x1f\x7f,]{0,63}"


class Whole(validate.Regexp):
    """A pattern of the whole text. The document shows it; Python's `$` alone allows a line feed."""

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, str) or re.fullmatch(str(self.regex.pattern), value) is None:
            raise ValidationError(self._format_error(value))
        return value


PRINTABLE = Whole(f"^{_NAME}$", error="Must be 1 to 64 printable characters.")
SUBJECT = Whole(r"^[^\x00-\x1f\x7f]{1,160}$", error="Must be 1 to 160 printable characters.")  # of an alert


class OneSymbol(Whole):
    """The name of one instrument; `several` is the text for a list of names."""

    def __init__(self, several: str = "one symbol") -> None:
        super().__init__(f"^{_NAME_WITHOUT_COMMA}$", error="Must be 1 to 64 printable characters.")
        self.several = several

    def __call__(self, value: Any) -> Any:
        if isinstance(value, str) and "," in value:
            raise ValidationError(self.several)
        return super().__call__(value)


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

    def __init__(self, listing: Listing, *, metadata: Mapping[str, Any] = MappingProxyType({}), **kwargs: Any) -> None:
        super().__init__(metadata={**metadata, "pattern": paging.TOKEN_PATTERN, "maxLength": paging.MAX_TOKEN_LENGTH}, **kwargs)
        self.listing = listing

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str) or not paging.is_token(value):
            raise ValidationError("Not a next_page_token: use it as the previous page has it.")
        try:
            return paging.decode(self.listing, value)
        except ValueError:
            raise ValidationError("No page of this query: use it with all other arguments unchanged.") from None


class SymbolList(Str):
    """Comma-separated symbols; becomes a tuple without repeats."""

    def __init__(self, *, metadata: Mapping[str, Any] = MappingProxyType({}), **kwargs: Any) -> None:
        pattern = f"^{_NAME_IN_LIST}(,{_NAME_IN_LIST}){{0,{_MAX_SYMBOLS - 1}}}$"
        super().__init__(metadata={**metadata, "pattern": pattern}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        names = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip(" "))))
        if not 1 <= len(names) <= _MAX_SYMBOLS:
            raise ValidationError(f"Must be 1 to {_MAX_SYMBOLS} symbols, separated by commas.")
        for name in names:
            PRINTABLE(name)
        return names
