"""The nearest instrument to a name that does not exist, for the texts of errors. Pure.

Both sides are compared by their texts with one character left out. So a lookup takes microseconds
for any number of instruments, and a client cannot slow the hub down with wrong names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import lru_cache

_MIN_LENGTH = 4  # of letters and digits; with fewer, every name is near to many others
_MAX_LENGTH = 32
_KEPT_SETS = 8  # sets of instruments whose index is kept, one per entitlement


def suggestion(names: Iterable[str], known: Collection[str], permitted: Callable[[str], bool] = lambda _: True) -> str:
    """Return `: did you mean EUR_USD?` if permitted instruments are near to `names`, else ""."""
    found = dict.fromkeys(each for name in names if (each := nearest(name, known)) is not None and permitted(each))
    return f": did you mean {', '.join(found)}?" if found else ""


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the instrument that `name` probably means; None if there is none.

    Upper and lower case and separators do not matter. One character may be missing, added, wrong,
    or in the place of its neighbour. Pass `known` as the same frozenset each time, as its hash is
    computed once.
    """
    plain = _plain(name)
    if not _MIN_LENGTH <= len(plain) <= _MAX_LENGTH:
        return None
    index = _index(frozenset(known))
    found = dict.fromkeys(each for text in _shortened(plain) for each in index.get(text, ()))
    return min((each for each in found if _differ_once(plain, _plain(each))), key=lambda each: _plain(each) != plain, default=None)


@lru_cache(maxsize=_KEPT_SETS)
def _index(known: frozenset[str]) -> dict[str, list[str]]:
    """Return each name's text, and its texts without one character -> the names."""
    index: dict[str, list[str]] = {}
    for name in sorted(known):
        for text in dict.fromkeys(_shortened(_plain(name))):
            index.setdefault(text, []).append(name)
    return index


def _differ_once(one: str, other: str) -> bool:
    """Return whether at most one character is missing, added, wrong or in its neighbour's place."""
    start = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), min(len(one), len(other)))
    one, other = one[start:], other[start:]
    swapped = one[:2] == other[1::-1] and one[2:] == other[2:]
    return swapped or one[1:] == other[1:] or one[1:] == other or one == other[1:]


def _plain(name: str) -> str:
    return "".join(character for character in name.upper() if character.isalnum())


def _shortened(text: str) -> Iterator[str]:
    """Yield the text, then the text without each of its characters."""
    yield text
    for place in range(len(text)):
        yield text[:place] + text[place + 1 :]
