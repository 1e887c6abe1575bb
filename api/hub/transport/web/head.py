"""The head of a plain HTTP request, without the parser of the standard library."""

from __future__ import annotations

_MAX_FIELDS = 100  # as in the standard library


class Head:
    """The fields of a head, with the methods that eventlet calls.

    `values` has names in lower case.
    """

    type = "text/plain"  # of a request without Content-Type

    def __init__(self, fields: list[tuple[str, str]], values: dict[str, str]) -> None:
        self._headers = fields  # (name as it was sent, value)
        self.values = values

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the value of a field."""
        return self.values.get(name.lower(), default)

    def without(self, name: str) -> Head:
        """Return the head without one of its fields; `name` is in lower case."""
        values = {**self.values}
        del values[name]
        return Head([field for field in self._headers if field[0].lower() != name], values)


def read_head(head: bytes) -> Head | None:
    """Return the head, which ends with an empty line; None if it is not a plain one.

    A plain head has complete lines, names of letters, digits and hyphens, each of them once, and no
    folded value.
    """
    lines = head[:-4].decode("latin-1").split("\r\n")
    ends = len(lines) + 1
    if head.count(b"\r") != ends or head.count(b"\n") != ends or len(lines) > _MAX_FIELDS:
        return None
    fields, values = [], {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not (name and colon):
            return None
        value = value.strip(" \t")
        fields.append((name, value))
        values[name.lower()] = value
    names = "".join(values)  # all names together: one check of their characters
    plain = names.isascii() and names.replace("-", "").isalnum() and len(values) == len(fields)
    return Head(fields, values) if plain else None
