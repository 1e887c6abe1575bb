"""Fields of the settings of observability."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from marshmallow import ValidationError
from marshmallow.fields import Field, Str

from config.fields import Items

_CURRENCY = r"[A-Z][A-Z0-9]{1,9}"
_is_currency = re.compile(_CURRENCY).fullmatch
_parity = re.compile(f"({_CURRENCY})=({_CURRENCY})").fullmatch
_limits = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)/(\d{1,9}(?:\.\d{1,6})?)", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class AlertLimits:
    """The two thresholds of an alert rule. A value above one of them is an alert."""

    warning: Decimal
    critical: Decimal

    def __str__(self) -> str:
        return f"{self.warning}/{self.critical}"


def limits_of(text: str) -> AlertLimits:
    """Return the thresholds of a text: `80/90`. Raises `ValueError`."""
    if (match := _limits(text)) is None:
        raise ValueError(f"{text!r:.40} is not WARNING/CRITICAL such as 80/90.")
    warning, critical = Decimal(match[1]), Decimal(match[2])
    if not 0 < warning < critical:
        raise ValueError(f"{text!r:.40}: needs 0 < warning < critical.")
    return AlertLimits(warning, critical)


class AlertLimitsText(Field[AlertLimits]):
    """Two thresholds, WARNING/CRITICAL: `80/90`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> AlertLimits:
        try:
            return limits_of(value)
        except ValueError as error:
            raise ValidationError(str(error)) from None


class Currency(Str):
    """The name of a currency, as instruments have it: `USD`, `USDT`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not _is_currency(value):
            raise ValidationError(f"{value!r:.40} is not a currency such as USD or USDT.")
        return str(value)


class CurrencyParity(Items):
    """A comma list of equal currencies: `USDT=USD,USDC=USD`. Each name on the left occurs once."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found: dict[str, str] = {}
        for item in super()._deserialize(value, attr, data, **kwargs):
            if (match := _parity(item)) is None or match[1] == match[2]:
                raise ValidationError(f"{item!r:.40} is not of the form USDT=USD.")
            if match[1] in found:
                raise ValidationError(f"{match[1]} is given more than once.")
            found[match[1]] = match[2]
        if chained := sorted(found.keys() & set(found.values())):
            raise ValidationError(f"{chained[0]} is on both sides: name one currency for all that are equal.")
        return found


class Zone(Field[ZoneInfo]):
    """The name of a time zone: `UTC`, `Europe/Berlin`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> ZoneInfo:
        try:
            return ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValidationError(f"{value!r:.40} is not a time zone such as UTC or Europe/Berlin.") from None
