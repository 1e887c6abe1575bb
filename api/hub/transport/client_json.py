"""The JSON of clients, read so that each value can be given back exactly or is refused. Pure.

JSON parsers disagree: half an emoji, NaN, 2,000 nested lists and integers beyond 64 bits are legal
for one and not for another. `read` accepts all of them; `problem_of` finds the unusable ones.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any

import orjson

MAX_DEPTH = 16  # levels of a payload: the payload itself is the first
MAX_QUOTE_LENGTH = 64  # characters of a refused value in an answer
TOO_DEEP = f"Nested deeper than {MAX_DEPTH} levels."
ATTACHMENT = "An attachment: values are JSON."
_NOT_TEXT = "Not Unicode text: it has half of a surrogate pair."
_NOT_FINITE = "Not a finite number."
_TOO_LARGE = "An integer is from -2^63 to 2^64-1."
_TOO_LONG = "A number that a double cannot hold exactly: send it as text."

_STRING = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_strings = re.compile(_STRING, re.DOTALL)
_tokens = re.compile(rf"({_STRING})(\s*:)?|[\[\]{{}}]", re.DOTALL)
_pairs = re.compile(r"\[\]|\{\}")
_not_brackets = re.compile(r"[^\[\]{}]+")
# A number that may be longer than its double: 16 digits, or an exponent.
_long_number = re.compile(r"[0-9.]{16}|[0-9][eE]")
_surrogates = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Unusable:
    """Replaces a value of which Python keeps too little.

    `field` is the field of the payload that contains the value.
    """

    problem: str
    field: str = "payload"


class Json:
    """The two functions that python-socketio calls on its `json` option.

    `dumps` writes an `orjson.Fragment` unchanged, so that clients receive the bytes of the bus.
    """

    @staticmethod
    def dumps(value: Any, *_: Any, **__: Any) -> str:
        return orjson.dumps(value).decode()

    @staticmethod
    def loads(text: str, *_: Any, **__: Any) -> Any:
        return read(text)


def read(text: str) -> Any:
    """Return the value of a JSON text. Raises `ValueError` if it is not JSON.

    NaN, infinities, large integers and halves of surrogate pairs pass. A decimal that a double
    cannot hold becomes `Unusable`. A list with a value deeper than an event may have becomes its
    first item, if that is text, and one `Unusable`.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH + 1 and _is_deep(text):
        return _begin_of(text)
    if not _long_number.search(text):
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass  # the standard library accepts more
    return json.loads(text, parse_float=_decimal, parse_int=_integer)


def problem_of(value: Any, depth: int = 1) -> str | None:
    """Return the first problem in a value of an event, or None.

    `depth` is the level of the value.
    """
    if isinstance(value, str):
        return None if value.isascii() or not _surrogates.search(value) else _NOT_TEXT
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else _TOO_LARGE
    if isinstance(value, float):
        return None if math.isfinite(value) else _NOT_FINITE
    if isinstance(value, list | dict):
        return TOO_DEEP if depth > MAX_DEPTH else _first_problem(value, depth + 1)
    return value.problem if isinstance(value, Unusable) else ATTACHMENT


def _first_problem(values: list[Any] | dict[str, Any], depth: int) -> str | None:
    """Return the first problem of the items, or of the names of fields and their values."""
    each: Iterable[Any] = chain(values, values.values()) if isinstance(values, dict) else values
    return next((problem for value in each if (problem := problem_of(value, depth))), None)


def quote(value: Any) -> Any:
    """Return a refused value for an answer, at most `MAX_QUOTE_LENGTH` characters of it.

    A long value becomes the beginning of its text. A value that cannot be written becomes None.
    """
    if isinstance(value, str):
        return readable(value)
    if problem_of(value):
        return None
    text = orjson.dumps(value).decode()
    return value if len(text) <= MAX_QUOTE_LENGTH else text[:MAX_QUOTE_LENGTH]


def readable(text: str) -> str:
    """Return at most `MAX_QUOTE_LENGTH` characters of the text, with U+FFFD for half a pair."""
    return _surrogates.sub("\ufffd", text[:MAX_QUOTE_LENGTH])


def _integer(text: str) -> int:
    """Return the integer; one beyond 64 bits becomes any other beyond 64 bits."""
    return int(text) if len(text) <= 20 else 2**64


def _decimal(text: str) -> float | Unusable:
    """Return the double with exactly the value of the text, or an infinity."""
    number = float(text)
    try:
        exact = repr(number) == text or not math.isfinite(number) or Decimal(text) == Decimal(repr(number))
    except InvalidOperation:  # an exponent beyond those of Decimal
        exact = False
    return number if exact else Unusable(_TOO_LONG)


def _is_deep(text: str) -> bool:
    """Return True if a list of the text has a value with more than `MAX_DEPTH` levels.

    Each round removes the innermost brackets in one pass. Brackets that do not match stay too.
    """
    brackets = _not_brackets.sub("", _strings.sub("", text))
    for _ in range(MAX_DEPTH + 1):
        brackets = _pairs.sub("", brackets)
    return bool(brackets)


def _begin_of(text: str) -> list[Any] | Unusable:
    """Return the name of a deep event, and `Unusable` with the field that is too deep.

    A deep object is `Unusable`.

    The scan ends at the first value that is too deep; the rest of the text is not read. Raises
    `ValueError` if there is none: the brackets do not match.
    """
    name, field, depth = None, "payload", 0
    for token in _tokens.finditer(text):
        string, colon = token.groups()
        if string is None:
            depth += 1 if token[0] in "[{" else -1
            if depth > MAX_DEPTH + 1:
                break
        elif depth == 1 and name is None and not text[1 : token.start()].strip():
            name = json.loads(string)
        elif depth == 2 and colon:
            field = json.loads(string)
    else:
        raise ValueError("brackets do not match")
    problem = Unusable(TOO_DEEP, field)
    if text.lstrip()[:1] == "{":
        return problem
    return [problem] if name is None else [name, problem]
