"""Fields of schemas that settings and REST share."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Int

_is_whole_number = re.compile(r"[0-9]{1,9}").fullmatch


class WholeNumber(Int):
    """A whole number as text: 1 to 9 ASCII digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not _is_whole_number(value):
            raise ValidationError("Not a whole number: use 1 to 9 digits, without sign, separator or blank.")
        return int(value)
