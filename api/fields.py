"""Fields that several schemas share."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Field, Float, Str

from db.decimals import is_decimal
from db.timestamps import parse_time


class DecimalText(Str):
    """A price or quantity: decimal string without sign or exponent, e.g. `"1.0945"`; stays text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str) or not is_decimal(value):
            raise ValidationError('Not a decimal string such as "1.0945".')
        return value


class Number(Float):
    """A finite JSON number; numeric text is invalid."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_nan=False, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, str | bool):
            raise ValidationError("Not a number.")
        return float(super()._deserialize(value, attr, data, **kwargs))


class Flag(Field[bool]):
    """`true` or `false`; no other value is converted."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not a boolean.")
        return value


class TimeText(Str):
    """An ISO 8601 time with `Z`, an offset, or none (UTC); stays text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            parse_time(value)
        except (TypeError, ValueError):
            raise ValidationError("Not an ISO 8601 time such as 2025-11-18T12:34:56.789123Z.") from None
        return str(value)
