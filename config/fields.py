"""Fields of schemas that settings and REST share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Field, Int

MAX_DIGITS = 9
_UNITS = {1: "s", 60: "m", 3600: "h"}
_SECONDS = {unit: seconds for seconds, unit in _UNITS.items()}


class WholeNumber(Int):
    """A whole number as text: 1 to `digits` ASCII digits."""

    def __init__(self, *, digits: int = MAX_DIGITS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._digits = digits
        self._matches = re.compile(f"[0-9]{{1,{digits}}}").fullmatch

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not self._matches(value):
            raise ValidationError(f"Not a whole number: use 1 to {self._digits} digits, without sign, separator or blank.")
        return int(value)


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of `count` in `seconds`."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{_UNITS[self.seconds]}"

    @property
    def per_second(self) -> float:
        """The limit per second."""
        return self.count / self.seconds


def parse_rate(text: str) -> Rate:
    """Return the rate of a text: `50/s`, `600/m`, `5000/h`. Raises `ValueError`."""
    match = re.fullmatch(r"([1-9][0-9]{0,6})/([smh])", text)
    if match is None:
        raise ValueError(f"{text!r:.40} is not a rate such as 50/s, 600/m or 5000/h.")
    return Rate(int(match[1]), _SECONDS[match[2]])


class RateText(Field[Rate]):
    """A rate as text: `50/s`, `600/m`, `5000/h`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Rate:
        try:
            return parse_rate(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Networks(Field[tuple[str, ...]]):
    """A comma list of addresses and networks: `127.0.0.1,10.0.0.0/8`, each as a network."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return tuple(str(ip_network(item.strip())) for item in value.split(",") if item.strip())
        except ValueError as error:
            raise ValidationError(f"{error}.") from None
