"""The benchmarks, with ratios to peers of the same run. Linux only.

`python -m tests.bench fanout|ingest|analytics|hardening|access|observability|books|web|operations`
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from tests.bench import access as access_runner
from tests.bench import analytics as analytics_runner
from tests.bench import bars, client_alerts, document, rates, receive_side, report
from tests.bench import books as books_runner
from tests.bench import fanout as runner
from tests.bench import hardening as hardening_runner
from tests.bench import ingest as ingest_runner
from tests.bench import observability as observability_runner
from tests.bench import operations as operations_runner
from tests.bench import web as web_runner
from tests.bench.figures import Results
from tests.bench.servers import PEERS, ROOT, BenchError
from tests.bench.shapes import QUICK_PEERS, QUICK_RECEIVE_SHAPES, RECEIVE_SHAPES, SHAPES
from tests.bench.web import chromium

Command = Callable[..., Any]


def _keys(table: dict[str, object], text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    if unknown := [key for key in keys if key not in table]:
        raise click.BadParameter(f"{', '.join(unknown)}: use one or more of {', '.join(table)}")
    return keys


def _options(parts: Iterable[str], *, rounds: int, quick: str) -> Callable[[Command], Command]:
    """Return the decorator with the options of a benchmark in parts; `quick` is a help text."""
    options = (
        click.option("--parts", default=",".join(parts), show_default=True, help="Parts to measure."),
        click.option("--rounds", default=rounds, show_default=True, help="Number of rounds; each round measures everything once."),
        click.option("--quick", is_flag=True, help=quick),
        click.option("--pin/--no-pin", default=True, help="Reserve one CPU for the measured server."),
        click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench-results", help="Folder for the results."),
    )

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def bench() -> None:
    """Compare Tickwire with its alternatives."""


@bench.command()
@click.option("--shapes", default=",".join(SHAPES), show_default=True, help="The loads to run; s is saturation.")
@click.option("--peers", help="The servers to run, the default: " + ",".join(PEERS))
@click.option("--rounds", default=3, show_default=True, help="Number of rounds; each round measures everything once.")
@click.option("--seconds", default=2.0, show_default=True, help="Duration of the steady load of one run.")
@click.option("--quick", is_flag=True, help="One short round: about three minutes.")
@click.option("--deflate", is_flag=True, help="Clients offer permessage-deflate, as browsers do.")
@click.option("--pin/--no-pin", default=True, help="Reserve one CPU for the measured server.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench-results", help="Folder for the results.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="Another checkout, to compare the cost of `max_rate`.")
def fanout(
    shapes: str, peers: str | None, rounds: int, seconds: float, quick: bool, deflate: bool, pin: bool, out: Path, before: Path | None
) -> None:
    """Measure CPU, throughput, latency and memory of the fan-out.

    The peers are Socket.IO on Node, Bun, nchan, Flask-SocketIO and bare loops in Python and C.
    """
    if sys.platform != "linux":
        raise click.ClickException("the load generator needs Linux (epoll, the CPU clocks of other processes)")
    out = out.resolve()
    os.chdir(ROOT)
    _raise_file_limit()
    chosen, missing = _available(_keys(dict(PEERS), peers or ",".join(QUICK_PEERS if quick else PEERS)))
    options = runner.Options(_keys(dict(SHAPES), shapes), chosen, 1 if quick else rounds, 1.0 if quick else seconds, deflate, pin)
    with runner.ground(pin) as place:
        results = Results(runner.run_all(place, options))
    if reason := "no CPU is reserved" if not pin else receive_side.unavailable():
        missing[report.RECEIVE_HEADING] = reason
    receive = Results([] if reason else receive_side.run(options, QUICK_RECEIVE_SHAPES if quick else RECEIVE_SHAPES))
    found = report.Report(
        results,
        receive,
        options,
        {**report.machine(), **report.loop(chosen), **report.others(results)},
        missing,
        rates.text(before, options.rounds),
    )
    files = found.write(out)
    click.echo(files[0].read_text())
    click.echo("written: " + ", ".join(os.path.relpath(file) for file in files))
    if faults := (*results.faults, *receive.faults):
        raise click.ClickException("Tickwire did not deliver all messages: " + "; ".join(faults))


def _available(keys: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the peers that can run, and the reasons of the others."""
    missing = {}
    for key in keys:
        if reason := PEERS[key].missing():
            missing[key] = reason
            click.echo(f"without {PEERS[key].label}: {reason}", err=True)
    return tuple(key for key in keys if key not in missing), missing


@bench.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), default=ROOT / "bench-results/fanout.json")
def write_fanout(file: Path) -> None:
    """Put the tables of a run of `fanout`, and its plot, into the documents."""
    found = report.read(file)
    document.write(found.summary(), ROOT / "docs/WEBSOCKET_DOCUMENTATION.md")
    document.write(found.text(), ROOT / "docs/fanout.md")
    found.draw(ROOT / "docs/images/fanout.png")


@bench.command()
@click.option("--parts", default=",".join(ingest_runner.PARTS), show_default=True, help="Parts to measure.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds; each round measures everything once.")
@click.option("--trades", default=500_000, show_default=True, help="Trades from the socket to the store.")
@click.option("--ticks", default=10_000_000, show_default=True, help="Ticks to aggregate to candles.")
@click.option("--export-rows", default=1_000_000, show_default=True, help="Rows of the CSV export.")
@click.option("--seconds", default=4.0, show_default=True, help="Duration of the load on `/candles` in one run.")
@click.option("--quick", is_flag=True, help="One round with a tenth of the rows: about one minute.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench-results", help="Folder for the results.")
def ingest(parts: str, rounds: int, trades: int, ticks: int, export_rows: int, seconds: float, quick: bool, out: Path) -> None:
    """Measure rates, CPU and memory from an exchange's messages to rows, candles and responses.

    The peers are psql and typical applications.
    """
    out = out.resolve()
    os.chdir(ROOT)
    chosen = _keys(dict(ingest_runner.PARTS), parts)
    less = 10 if quick else 1
    options = ingest_runner.Options(
        chosen, 1 if quick else rounds, trades // less, ticks // less, export_rows // less, seconds / (less // 3 or 1)
    )
    with runner.ground(pin=False) as place:
        runs = ingest_runner.run_all(place, options)
    file = ingest_runner.write(runs, options, out)
    click.echo(file.read_text())


@bench.command()
@click.option("--parts", default=",".join((*analytics_runner.PARTS, analytics_runner.MEMORY)), show_default=True, help="Parts to measure.")
@click.option("--rounds", default=7, show_default=True, help="Number of rounds; each round measures everything once.")
@click.option("--repeats", default=9, show_default=True, help="Calls per round; the best one counts.")
@click.option("--quick", is_flag=True, help="Three short rounds without the parts that are slow in pandas: ten seconds.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench-results", help="Folder for the results.")
def analytics(parts: str, rounds: int, repeats: int, quick: bool, out: Path) -> None:
    """Measure time and memory of correlation and volatility against pandas and numpy."""
    out = out.resolve()
    os.chdir(ROOT)
    chosen = _keys({**analytics_runner.PARTS, analytics_runner.MEMORY: None}, parts)
    if quick:
        chosen = tuple(part for part in chosen if part != "spearman")
    options = analytics_runner.Options(chosen, 3 if quick else rounds, 3 if quick else repeats)
    file = analytics_runner.write(analytics_runner.run_all(options), options, out)
    with file.open("a") as more:
        more.write(f"\n### A client's own thresholds, CPU of the hub\n\n{client_alerts.text()}\n")
    click.echo(file.read_text())


@bench.command()
@_options(hardening_runner.PARTS, rounds=3, quick="One round with shorter idle times.")
def hardening(parts: str, rounds: int, quick: bool, pin: bool, out: Path) -> None:
    """Measure the effect of hostile clients on others, and the time until they are closed."""
    _measure(hardening_runner.TITLE, hardening_runner.PARTS, parts, 1 if quick else rounds, quick, pin, out / "hardening.md")


@bench.command()
@_options(access_runner.PARTS, rounds=1, quick="Fewer clients and pairs, and no part that waits for half a minute.")
def access(parts: str, rounds: int, quick: bool, pin: bool, out: Path) -> None:
    """Measure the costs of credentials, guesses, and the time until a revocation is effective."""
    _measure(access_runner.TITLE, access_runner.PARTS, parts, rounds, quick, pin, out / "access.md")


@bench.command()
@_options(observability_runner.PARTS, rounds=1, quick="One short round.")
def observability(parts: str, rounds: int, quick: bool, pin: bool, out: Path) -> None:
    """Measure the figures of bots and the snapshots of metrics."""
    _measure(observability_runner.TITLE, observability_runner.PARTS, parts, 1 if quick else rounds, quick, pin, out / "observability.md")


@bench.command()
@_options(books_runner.PARTS, rounds=1, quick="One short round.")
def books(parts: str, rounds: int, quick: bool, pin: bool, out: Path) -> None:
    """Measure order books: cost of a message, memory, resync, and their sockets."""
    _measure(books_runner.TITLE, books_runner.PARTS, parts, 1 if quick else rounds, quick, pin, out / "books.md")


@bench.command()
@_options(operations_runner.PARTS, rounds=1, quick="One short round.")
def operations(parts: str, rounds: int, quick: bool, pin: bool, out: Path) -> None:
    """Measure the cost of metrics, request ids and the access log, and of a scrape."""
    _measure(operations_runner.TITLE, operations_runner.PARTS, parts, rounds, quick, pin, out / "operations.md")


@bench.command()
@_options(web_runner.PARTS, rounds=1, quick="8 seconds each, without the time to settle.")
def web(parts: str, rounds: int, quick: bool, pin: bool, out: Path) -> None:
    """Measure the dashboard in Chromium against its goals. Its processes share all CPUs."""
    try:
        chromium.executable()
    except BenchError as error:
        raise click.ClickException(str(error)) from None
    del pin  # a browser has many processes, which run beside the servers on a user's machine too
    _measure(web_runner.TITLE, web_runner.PARTS, parts, rounds, quick, pin=False, file=out / "web.md")


def _measure(title: str, table: dict[str, bars.Part], parts: str, rounds: int, quick: bool, pin: bool, file: Path) -> None:
    file = file.resolve()
    os.chdir(ROOT)
    _raise_file_limit()
    chosen = _keys(dict(table), parts)
    with runner.ground(pin) as place:
        found = bars.run_all(table, place, chosen, rounds, quick)
    click.echo(bars.write(title, table, found, file).read_text())


def _raise_file_limit() -> None:
    """Raise the soft limit to the hard one; child processes inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    bench()
