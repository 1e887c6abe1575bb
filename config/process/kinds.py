"""Kinds of settings: each parses the text of one variable, and checks the value.

The text of a `ValueError` is the problem that the operator reads. Kinds and checks are ours because
every process parses the settings at its start. The import of marshmallow would take a tenth of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from math import isfinite
from typing import Any, Generic, TypeVar

MAX_DIGITS = 9

Value = TypeVar("Value")
Check = Callable[[Any], None]  # raises `ValueError`


class Range:
    """The check of a number: it is at least `min` and at most `max`, each of which may be None."""

    def __init__(self, min: float | None = None, max: float | None = None) -> None:  # noqa: A002
        self.min, self.max = min, max
        bounds = (("greater", min), ("less", max))
        self._problem = " and ".join(f"{word} than or equal to {bound}" for word, bound in bounds if bound is not None)

    def __call__(self, value: float) -> None:
        """Raise `ValueError` if the number is out of the range."""
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            raise ValueError(f"Must be {self._problem}.")


def positive(value: float) -> None:
    """Raise `ValueError` if the number is not above 0."""
    if value <= 0:
        raise ValueError("Must be greater than 0.")


def one_of(choices: Collection[object]) -> Check:
    """Return the check of a value with few choices."""

    def check(value: object) -> None:
        if value not in choices:
            raise ValueError(f"Must be one of: {', '.join(map(str, choices))}.")

    return check


class Kind(Generic[Value]):
    """The kind of a variable: the type of its value, its default, and a check of other values."""

    def __init__(self, *, default: Value | None = None, check: Check | None = None) -> None:
        self.default = default
        self._check = check

    def parse(self, text: str) -> Value:
        """Return the value of a text that is not empty. Raises `ValueError`."""
        value = self._value(text)
        if self._check is not None:
            self._check(value)
        return value

    def _value(self, text: str) -> Value:
        raise NotImplementedError


class PlainText(Kind[str]):
    """Any text."""

    def _value(self, text: str) -> str:
        return text


class FiniteNumber(Kind[float]):
    """A finite number as Python reads it: `0.5`, `1e3`."""

    def _value(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("Not a valid number.") from None
        if not isfinite(value):
            raise ValueError("Special numeric values (nan or infinity) are not permitted.")
        return value


def parse_whole_number(text: str, digits: int = MAX_DIGITS) -> int:
    """Return the number of 1 to `digits` ASCII digits. Raises `ValueError`."""
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise ValueError(f"Not a whole number: use 1 to {digits} digits, without sign, separator or blank.")
    return int(text)


class WholeNumber(Kind[int]):
    """A whole number as text: 1 to 9 ASCII digits."""

    def _value(self, text: str) -> int:
        return parse_whole_number(text)
