"""Recognition of a file's format by its header or shape. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from jobs.feeds.files.formats.columns import Table
from jobs.feeds.files.formats.format import HEAD_LINES, Format, Head
from jobs.feeds.files.formats.model import AUTO, BadOptionValue, Kind, Line, Options, Recognised, UnknownFormat, UnknownInstrument
from jobs.feeds.files.formats.names import likely_kind
from jobs.feeds.files.formats.nearest import nearest, proposal
from jobs.feeds.files.formats.vendors import binance, dukascopy, generic, histdata, metatrader, oanda, tickwire, truefx

# In the order of the tests. A format may have several rows.
FORMATS: tuple[Format, ...] = (
    *tickwire.FORMATS,
    *oanda.FORMATS,
    *binance.FORMATS,
    *metatrader.FORMATS,
    *histdata.FORMATS,
    *dukascopy.FORMATS,
    *truefx.FORMATS,
    *generic.FORMATS,
)
# Values of `--format`.
NAMES = (AUTO, *dict.fromkeys(row.name for row in FORMATS))


def detect(lines: Iterable[Line], options: Options, *, name: str, instruments: Collection[str]) -> Recognised:
    """The format of a file and its reader.

    `lines` are the file's, from the first; at most `HEAD_LINES` that are not blank are taken.
    `name` is the file's name without folder, `instruments` are the existing ones. Raises
    `FileRefused`, and `BadOptionValue` for an option that cannot be used.
    """
    head = head_of(lines, options, name, instruments)
    row = _chosen(head)
    if row is None:
        raise UnknownFormat(head.lines[0], nearest(head.fields(), FORMATS), proposal(head.fields()))
    if options.columns and not row.has_columns:
        raise BadOptionValue("--columns", f"the columns of {row.name} are fixed")
    if options.instrument is not None and options.instrument not in instruments:
        raise UnknownInstrument(options.instrument, "--instrument", likely_kind(options.instrument))
    return row.recognise(head)


def head_of(lines: Iterable[Line], options: Options, name: str, instruments: Collection[str]) -> Head:
    """The beginning of a file."""
    found = tuple(islice((line for line in lines if line[1].strip()), HEAD_LINES)) or ((1, ""),)
    return Head(name, found, Table.of_header(found[0][1]), instruments, options)


def _chosen(head: Head) -> Format | None:
    options = head.options
    kinds = {options.kind, _kind_of_columns(options)} - {None}
    rows = [row for row in FORMATS if options.format in (AUTO, row.name) and kinds <= {row.kind}]
    fitting = next((row for row in rows if row.fits(head)), None)
    if fitting is not None or not rows:
        return fitting
    if options.format != AUTO:
        return rows[0]
    # With `--columns`, a file of no other format is one of the last two.
    return rows[-1] if options.columns else None


def _kind_of_columns(options: Options) -> Kind | None:
    """The kind of the records that have the fields of `--columns`; None if these do not show it."""
    fields = options.columns.keys()
    if fields & {"bid", "ask", "mid"}:
        return "ticks"
    return "candles" if any(field.endswith(("open", "high", "low", "close")) or field == "trades" for field in fields) else None
