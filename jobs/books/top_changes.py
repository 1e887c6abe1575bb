"""The changes of one side's best levels for several depths at once. Pure.

A level is in the top N if its key is at or above the key of the N-th level. A level above the old
and the new N-th key differs only if it was written, and then alike for every depth. Levels between
the two keys have all left the top, or have all entered it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from jobs.books.book import Best, Level, Levels

REMOVED = "0"  # quantity of a level that left the top N
Before = Mapping[float, Level | None]  # key -> the level before it was written, None without one
LevelAt = Callable[[float], Level | None]


def side_changes(old: Best, new: Best, before: Before, now: LevelAt, depths: Sequence[int]) -> list[Levels]:
    """For each depth, the changed levels and the removed ones with quantity 0, best first.

    `before` has the levels that were written since `old`; it may leave out keys below those of
    `old`. `now` returns the level of a key. The depths are in ascending order.
    """
    keys, written = _written(before, now)
    count, found = 0, []
    for depth in depths:
        old_end, new_end = end_of(old.keys, depth), end_of(new.keys, depth)
        common = old_end if old_end > new_end else new_end
        while count < len(keys) and keys[count] >= common:
            count += 1
        levels = written[:count]
        if new_end > old_end:
            levels += [[price, REMOVED] for price, _ in _beyond(old, depth, common)]
        elif old_end > new_end:
            levels += _beyond(new, depth, common)
        found.append(levels)
    return found


def _written(before: Before, now: LevelAt) -> tuple[list[float], Levels]:
    """The differences that the writing has made, with their keys, best first."""
    keys, levels = [], []
    for key in sorted(before, reverse=True):
        former, level = before[key], now(key)
        if former != level:
            if former is not None and (level is None or former[0] != level[0]):
                keys.append(key)
                levels.append([former[0], REMOVED])
            if level is not None:
                keys.append(key)
                levels.append(level)
    return keys, levels


def _beyond(side: Best, depth: int, end: float) -> Levels:
    """The levels of the top with keys below `end`."""
    place = stop = min(depth, len(side.keys))
    while place and side.keys[place - 1] < end:
        place -= 1
    return side.levels[place:stop]


def end_of(keys: Sequence[float], depth: int) -> float:
    """The key of the last place; without such a place, every level is in the top."""
    return keys[depth - 1] if len(keys) >= depth else -math.inf


def changes(old: Levels, new: Levels, *, is_bid: bool) -> Levels:
    """The changes between two lists of levels, as in `side_changes`.

    If two texts of a price differ in zeros at the end, the removal of the old one comes first.
    """
    before = {price: quantity for price, quantity in old}  # noqa: C416  # twice as fast as dict(old)
    changed = [level for level in new if before.pop(level[0], None) != level[1]]
    if before:
        changed = [[price, REMOVED] for price in before] + changed
        changed.sort(key=_price, reverse=is_bid)
    return changed


def _price(level: Level) -> float:
    return float(level[0])
