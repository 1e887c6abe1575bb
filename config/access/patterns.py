"""Patterns of instruments: `EUR_*` permits, `!EUR_CHF` denies, and a denial wins. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

MAX_PATTERNS = 64
MAX_LENGTH = 32  # characters of one pattern, with its `!`
DENIAL = "!"
EVERY = "*"
_MAX_REMEMBERED = 1024  # names per list of patterns

_is_pattern = re.compile(r"!?[A-Z0-9_*]+", re.ASCII).fullmatch


class PatternError(ValueError):
    """A list of patterns is invalid; the text is for an operator."""


class Patterns:
    """A compiled list of patterns; lists with equal texts are equal, and the same object usually.

    A list of denials alone permits nothing, and so does an empty list. Results are remembered by
    name. They do not depend on the known instruments, so that a new one needs no compilation.
    """

    __slots__ = ("_allowed", "_denied", "_entitled", "_hash", "_permitted", "texts")

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self._allowed = _compile(text for text in self.texts if not text.startswith(DENIAL))
        self._denied = _compile(text[1:] for text in self.texts if text.startswith(DENIAL))
        self._hash = hash(self.texts)
        self._permitted: dict[str, bool] = {}  # name -> result
        self._entitled: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())  # last call of `among`: argument, result

    def permits(self, name: str) -> bool:
        """Return True if a pattern permits the name and none denies it."""
        known = self._permitted.get(name)
        if known is None:
            known = bool(self._allowed and self._allowed.fullmatch(name)) and not (self._denied and self._denied.fullmatch(name))
            if len(self._permitted) >= _MAX_REMEMBERED:  # names of clients, which may be any
                self._permitted.clear()
            self._permitted[name] = known
        return known

    def among(self, names: frozenset[str]) -> frozenset[str]:
        """Return the permitted ones of `names`. The last result is remembered."""
        given, result = self._entitled
        if given is not names and given != names:
            result = frozenset(filter(self.permits, names))
            self._entitled = names, result
        return result

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Patterns) and self.texts == other.texts)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Patterns({','.join(self.texts)})"


def compile_patterns(texts: Iterable[str]) -> Patterns:
    """Return the patterns. Raises `PatternError`, which names the first bad one."""
    return _checked(tuple(texts))


@lru_cache(maxsize=16_384)
def _checked(given: tuple[str, ...]) -> Patterns:
    if len(given) > MAX_PATTERNS:
        raise PatternError(f"{len(given)} patterns: at most {MAX_PATTERNS} are allowed.")
    for text in given:
        if len(text) > MAX_LENGTH or not _is_pattern(text):
            rule = f"1 to {MAX_LENGTH} characters A-Z, 0-9, _ and *, after a ! for a denial"
            raise PatternError(f"{text[: MAX_LENGTH + 8]!r} is not a pattern of instruments: {rule}.")
    return Patterns(given)


def _compile(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return one expression for all texts; None without any.

    Each part between two stars is an atomic group: the time is in proportion to the name.
    """
    expressions = []
    for text in texts:
        first, *rest = re.split(r"\*+", text)
        *middle, last = rest or [None]
        stars = "" if last is None else "".join(f"(?>.*?{part})" for part in middle) + ".*" + last
        expressions.append(first + stars)
    return re.compile("|".join(f"(?:{each})" for each in expressions), re.DOTALL) if expressions else None


NOTHING = compile_patterns(())
EVERYTHING = compile_patterns((EVERY,))
