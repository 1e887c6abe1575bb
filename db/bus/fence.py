"""Fences: a process that has lost a duty can publish for it no more."""

from __future__ import annotations

from typing import NamedTuple

import orjson


class Fence(NamedTuple):
    """A duty and the number under which its holder publishes; a later holder has a higher one.

    The bus keeps the highest number of each duty. A batch with a lower number raises `BusFenced`,
    unless it is a repeat of a batch that was accepted. The empty duty is not checked.
    """

    duty: str
    number: int

    def argument(self) -> bytes:
        """The argument of the scripts: JSON, or nothing for the empty duty."""
        return orjson.dumps(tuple(self)) if self.duty else b""


NO_FENCE = Fence("", 0)
