"""The items of a `subscribe` that are rejected by themselves. Pure."""

from __future__ import annotations

from typing import Any

from api.errors import ErrorCode
from api.hub.transport.client_json import quote

MAX_REJECTED = 20  # items that one answer shows


class Rejections:
    """Counts the rejected items of one request; `shown` has the first ones, for the answer."""

    __slots__ = ("count", "forbidden", "shown")

    def __init__(self) -> None:
        self.count = 0
        self.forbidden = 0  # of them, those for which a right is missing
        self.shown: list[dict[str, Any]] = []

    def add(self, code: ErrorCode, message: str, **values: Any) -> None:
        """Reject an item. `values` are those of the client, by the field that shows each."""
        self.count += 1
        self.forbidden += code == ErrorCode.FORBIDDEN
        if len(self.shown) < MAX_REJECTED:
            quoted = {name: quote(value) for name, value in values.items()}
            self.shown.append({**quoted, "code": code.value, "message": message})
