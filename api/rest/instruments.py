"""The instruments that a caller may read, and checks of those that a request names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flask import g, request

from api.access.model import Access
from api.errors import ErrorCode, Refusal
from api.rest.context import context
from api.rest.errors import unknown_instrument
from api.rest.schemas.paging import ListQuery
from config.access.patterns import EVERYTHING
from db.instruments import all_instruments
from db.replicas import Reads

ONE_INSTRUMENT = ("symbol", "symbol1", "symbol2")  # arguments that name one instrument
_READING = ("GET", "HEAD")  # methods of requests that change nothing
_SEVERAL = "symbols"  # argument that names a list of them


def refuse_excluded(arguments: object) -> None:
    """Raise 403 if `arguments` name an instrument that the caller may not read.

    An unknown one is 404. `arguments` is the query or body of a request, as its schema returns it,
    or the mapping of its path's arguments. Both of the instruments of a pair are needed.
    """
    access: Access = g.access
    for argument, names in _named(arguments):
        excluded = [name for name in names if not access.includes(name)]
        if not excluded:
            continue
        known = _known()
        if refused := [name for name in excluded if name in known]:
            raise Refusal(ErrorCode.FORBIDDEN, "no right to the instrument: " + ", ".join(refused), {argument: refused})
        raise unknown_instrument(argument, excluded, known, access.includes)


def may_read(instrument: str) -> bool:
    """Return True if the caller may read the instrument."""
    access: Access = g.access
    return access.includes(instrument)


def readable() -> frozenset[str] | None:
    """Return the instruments that the caller may read, also disabled ones; None if that is each."""
    access: Access = g.access
    return None if access.reading == EVERYTHING else access.entitled(_known())


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
    known = _known()
    if unknown := [name for name in names if name not in known]:
        raise unknown_instrument(argument, unknown, known, may_read)


def _known() -> frozenset[str]:
    """Return all instruments: the history of disabled ones still answers."""
    app = context()
    reads = app.reads if request.method in _READING else Reads(app.store)  # the answer to a write needs the primary
    return frozenset(each.symbol for each in reads.read(lambda cursor: all_instruments(cursor, disabled=True)))
