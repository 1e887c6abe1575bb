"""The head of a plain HTTP request, without the parser of the standard library."""

from __future__ import annotations

_MAX_FIELDS = 100  # as in the standard library

Field = tuple[str, str]  # name as it was sent, value without blanks around it


class Head:
    """The header fields of a request without a body, with the methods that eventlet calls."""

    type = "text/plain"  # of a request without Content-Type

    def __init__(self, fields: list[Field]) -> None:
        self._headers = fields
        self._values = {name.lower(): value for name, value in reversed(fields)}  # of several, the first

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a field; of several, the first."""
        return self._values.get(name.lower(), default)


def read_fields(head: bytes) -> list[Field] | None:
    """Return the fields of a head, which ends with an empty line; None if it is not a plain one.

    A plain head has complete lines, names of letters, digits and hyphens, and no folded value.
    """
    lines = head[:-4].decode("latin-1").split("\r\n")
    ends = len(lines) + 1
    if head.count(b"\r") != ends or head.count(b"\n") != ends or len(lines) > _MAX_FIELDS:
        return None
    fields = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not (colon and name.isascii() and name.replace("-", "").isalnum()):
            return None
        fields.append((name, value.strip(" \t")))
    return fields
