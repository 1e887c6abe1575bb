"""Checks of the instruments that a request names: right of the client, existence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flask import g

from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError, unknown_instrument
from api.rest.schemas.paging import ListQuery
from db.instruments import all_instruments

ONE_INSTRUMENT = ("symbol", "symbol1", "symbol2")  # arguments that name one instrument
_SEVERAL = "symbols"  # argument that names a list of them


def refuse_excluded(arguments: object) -> None:
    """Raise 403 if `arguments` name an instrument that the client may not see.

    `arguments` is the query or body of a request, as its schema returns it, or the mapping of its
    path's arguments. A route of the scope `OPEN` has no client, and is not checked.
    """
    access = g.get("access")
    if access is None:
        return
    for argument, names in _named(arguments):
        if refused := [name for name in names if not access.includes(name)]:
            message = "no right to the instrument: " + ", ".join(refused)
            raise ApiError(403, ErrorCode.FORBIDDEN, message, {argument: refused})


def _named(arguments: object) -> Iterator[tuple[str, list[str]]]:
    """Yield each argument that names instruments, with their names."""
    values = arguments.filters if isinstance(arguments, ListQuery) else arguments
    for argument in (*ONE_INSTRUMENT, _SEVERAL):
        value = values.get(argument) if isinstance(values, Mapping) else getattr(values, argument, None)
        if value is not None:
            yield argument, [value] if isinstance(value, str) else list(value)


def refuse_unknown(argument: str, names: list[str]) -> None:
    """Raise 404 unless all `names` are instruments.

    Call it with the names for which no data was found, so that the usual request costs no query.
    """
    if not names:
        return
    with context().store.transaction() as cursor:
        # The history of disabled instruments still answers.
        known = frozenset(each.symbol for each in all_instruments(cursor, disabled=True))
    if unknown := [name for name in names if name not in known]:
        access = g.get("access")
        raise unknown_instrument(argument, unknown, known, lambda name: access is None or access.includes(name))
