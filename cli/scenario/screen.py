"""Scenarios, their figures and their runs on the terminal, or as lines for a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from db.scenarios.run_record import RunRecord
from db.timestamps import format_time

_COLOURS = {"healthy": "green", "degraded": "yellow", "unhealthy": "red"}
_MAX_ROWS = 40  # of a time line on the terminal; REST has the whole


class Screen:
    """Draws the figures again and again: a table on a terminal, a line in a pipe."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def draw(self, body: Mapping[str, Any]) -> None:
        """Draw the body of `/status`."""
        if self._live is None:
            click.echo(status_line(body))
        else:
            self._live.update(status_table(body), refresh=True)


def status_line(body: Mapping[str, Any]) -> str:
    """`burst-mode phase 1: degraded, queue 1200/2000, lag 4.2 ms, BTCUSDT live`."""
    return ", ".join(
        (
            f"{body['current_scenario']}{_phase(body)}: {body['status']}",
            f"queue {body['current_queue_size']}/{body['queue_max']}",
            f"lag {body['lag_ms']:.1f} ms",
            *(f"{name} {state}" for name, state in body["books"].items()),
        )
    )


def status_table(body: Mapping[str, Any]) -> Table:
    """The same as a table of two columns."""
    table = Table(show_header=False, box=None)
    status = body["status"]
    rows = (
        ("scenario", escape(f"{body['current_scenario']}{_phase(body)}")),
        ("status", f"[{_COLOURS.get(status, 'white')}]{status}"),
        ("queue", f"{body['current_queue_size']} of {body['queue_max']}, peak {body['queue_peak']}"),
        ("lag", f"{body['lag_ms']:.1f} ms"),
        ("messages", str(body["total_messages_processed"])),
        ("last heartbeat", body["last_heartbeat"]),
        *((escape(name), f"[{'green' if state == 'live' else 'red'}]{state}") for name, state in body["books"].items()),
    )
    for name, value in rows:
        table.add_row(name, value)
    return table


def _phase(body: Mapping[str, Any]) -> str:
    """` phase 1` of a run; empty without one, and after its last phase."""
    run = body["scenario_run"]
    return "" if run is None or run["phase"] is None else f" phase {run['phase']}"


def print_scenarios(console: Console, files: Mapping[str, str], current: str) -> None:
    """Print the body of `/scenarios` as a table."""
    table = Table("scenario", "file", "current", box=None)
    for name, file in files.items():
        table.add_row(name, file, "yes" if name == current else "")
    console.print(table)


def print_run(console: Console, run: RunRecord) -> None:
    """Print the figures of a run, and the seconds of its time line at which something changed."""
    figures = Table(show_header=False, box=None)
    for name, value in _figures(run):
        figures.add_row(name, escape(value))
    console.print(figures)
    changes = list(_changes(run))
    if not changes:
        return
    timeline = Table("second", "phase", "speed", "status", "queue", "lag", "books", box=None)
    for each in changes[-_MAX_ROWS:]:
        timeline.add_row(*_cells(each))
    console.print(timeline)


def _figures(run: RunRecord) -> Iterator[tuple[str, str]]:
    yield "run", run.run_id
    yield "scenario", run.scenario
    yield "start", format_time(run.started)
    yield "end", "" if run.ended is None else format_time(run.ended)
    for name in ("seed", "peak_queue", "peak_lag_ms", "gaps", "resyncs", "detect_seconds", "recover_seconds", "wrong_books", "outcome"):
        value = getattr(run, name)
        yield name, "" if value is None else str(value)


def _changes(run: RunRecord) -> Iterator[Mapping[str, Any]]:
    """The entries whose phase, status or books differ from those before."""
    last = None
    for each in run.timeline:
        facts = each.get("phase"), each.get("status"), each.get("books")
        if facts != last:
            yield each
        last = facts


def _cells(entry: Mapping[str, Any]) -> list[str]:
    books = ", ".join(f"{name} {state}" for name, state in (entry.get("books") or {}).items())
    texts = [str(entry.get(name, "")) for name in ("second", "phase", "speed", "status", "queue")]
    return [escape(each) for each in (*texts, f"{entry.get('lag_ms', 0):.0f} ms", books)]
