"""Recognition of a file's format by its header or shape. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from jobs.feeds.files.formats.columns import Table
from jobs.feeds.files.formats.format import HEAD_LINES, Format, Head
from jobs.feeds.files.formats.model import AUTO, Line, Options, Recognised, UnknownFormat
from jobs.feeds.files.formats.vendors import binance, oanda, tickwire

# In the order of the tests. A format of quotes and candles has two rows.
FORMATS: tuple[Format, ...] = (*tickwire.FORMATS, *oanda.FORMATS, *binance.FORMATS)
NAMES = (AUTO, *dict.fromkeys(row.name for row in FORMATS))
NEAREST = 3


def detect(lines: Iterable[Line], options: Options, *, name: str, instruments: Collection[str]) -> Recognised:
    """The format of a file and its reader.

    `lines` are the file's, from the first; at most `HEAD_LINES` that are not blank are taken.
    `name` is the file's name without folder, `instruments` are the existing ones. Raises
    `FileRefused`.
    """
    head = _head(lines, options, name, instruments)
    rows = [row for row in FORMATS if options.format in (AUTO, row.name) and options.kind in (None, row.kind)]
    chosen = next((row for row in rows if row.fits(head)), None)
    if chosen is None:
        raise UnknownFormat(head.lines[0], nearest(head), "time=COLUMN,bid=COLUMN")
    return chosen.recognise(head)


def _head(lines: Iterable[Line], options: Options, name: str, instruments: Collection[str]) -> Head:
    found = tuple(islice((line for line in lines if line[1].strip()), HEAD_LINES)) or ((1, ""),)
    return Head(name, found, Table.of_header(found[0][1]), instruments, options)


def nearest(head: Head) -> dict[str, str]:
    """The names of at most three formats with the most columns in common, and their columns."""
    scores = {row.name: _common(row.columns.split(","), head.table.names) for row in FORMATS if row.columns}
    best = sorted((name for name, score in scores.items() if score), key=lambda name: -scores[name])[:NEAREST]
    return {name: next(row.columns for row in FORMATS if row.name == name) for name in best}


def _common(columns: Sequence[str], names: Sequence[str]) -> int:
    return len(set(columns) & set(names))
