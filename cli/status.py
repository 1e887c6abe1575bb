"""`manage.py status`: the state of a running system."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.common import API_KEY, chosen_settings, hub_urls, no_connection, nothing_runs, plain_errors
from config.access.modes import REQUIRED
from ops import running
from ops import status as ops_status
from ops.bus.setup import setup_of


@click.command()
@click.option("--url", metavar="URL", help="Of another REST, instead of the system on HUB_DATA_DIR: shows its health alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(url: str | None, as_json: bool) -> None:
    """Show the state of the system and its processes.

    The processes are the jobs, the books, the observer, the hubs and REST, and the embedded
    servers. Exits with 0 if every process is alive, every hub answers within 3 s and no part fails,
    else with 1. If REST needs a key, the environment variable TICKWIRE_API_KEY has one with the
    scope `observe`, for the details of the sources.
    """
    chosen = chosen_settings("status")
    if url is not None:
        _show_remote(url.rstrip("/"), as_json)
    system = running.read(chosen.hub_data_dir)
    if system is None:
        click.echo(json.dumps({"running": False, "healthy": False}) if as_json else nothing_runs(chosen))
        sys.exit(1)
    report = ops_status.report(system, time.time(), hub_urls(chosen), key=os.environ.get(API_KEY), setup=setup_of(chosen, system.redis_url))
    if as_json:
        click.echo(json.dumps(report))
    else:
        _show(report)
    sys.exit(0 if report["healthy"] else 1)


def _show_remote(url: str, as_json: bool) -> NoReturn:
    """Show the health of the REST at `url` and exit."""
    with plain_errors():
        health = ops_status.health_of(url, os.environ.get(API_KEY))
        if health is None:
            raise running.RunError(no_connection(url, "REST"))
    healthy = health["status"] in ops_status.FINE
    if as_json:
        click.echo(json.dumps({"running": True, "healthy": healthy, "rest": url, "health": health}))
    else:
        _show_health(Console(), health)
    sys.exit(0 if healthy else 1)


def _show(report: dict[str, Any]) -> None:
    console = Console()
    table = Table("process", "pid", "alive", "up for")
    for name, state in report["processes"].items():
        up_for = state["uptime_seconds"]
        table.add_row(
            name, str(state["pid"]), "[green]yes" if up_for is not None else "[red]no", "" if up_for is None else f"{up_for:.0f} s"
        )
    console.print(table)
    _show_registry(console, report)
    for name in ("rest", "hub", "database_url", "redis_url"):
        console.print(f"{name}: {report[name]}", highlight=False)
    _show_health(console, report["health"])


def _show_health(console: Console, health: Mapping[str, Any]) -> None:
    shown = {key: value for key, value in health.items() if key not in ("timestamp", "sources")}
    console.print("health: " + ", ".join(_words(key, value) for key, value in shown.items()), highlight=False, markup=False, soft_wrap=True)
    for name, state in (health.get("sources") or {}).items():
        console.print(source_line(name, state), highlight=False, markup=False, soft_wrap=True)
    if hint := details_hint(health, sent=bool(os.environ.get(API_KEY))):
        click.echo(hint, err=True)


def details_hint(health: Mapping[str, Any], *, sent: bool) -> str:
    """Return the reason why health has no details; "" if it has them. `sent`: with a credential."""
    hidden = any("since" not in state for state in (health.get("sources") or {}).values())
    if not hidden or not (sent or health.get("auth") == REQUIRED):
        return ""
    return f"details are left out: {API_KEY} {'is not accepted, or lacks' if sent else 'is not set to a key with'} the scope observe"


def source_line(name: str, state: Mapping[str, Any]) -> str:
    """Return the line about a source: its state and its last record, by the time of reception.

    Without the scope `observe`, health has the state alone.
    """
    if "since" not in state:
        return f"source {name}: {state.get('state')}"
    age = state.get("age_seconds")
    last = "no record yet" if age is None else f"last record {age:.0f} s ago"
    detail = f": {state['detail']}" if state.get("detail") else ""
    return f"source {name}: {state.get('state')} since {state.get('since')}, {last}{detail}"


def _show_registry(console: Console, report: dict[str, Any]) -> None:
    """Print a row for each process of the registry and for each hub that does not answer."""
    if report["registry"]:
        table = Table("registered", "pid", "acting", "last report", "failing")
        for process in report["registry"]:
            age = f"{max(0.0, process['age_seconds']):.0f} s ago"
            failing = ", ".join(process["failing"])
            table.add_row(
                process["name"],
                str(process["pid"] or ""),
                "yes" if process["acting"] else "no",
                f"[red]down, {age}" if process["down"] else age,
                f"[red]{escape(failing)}" if failing else "",
            )
        console.print(table)
    for url, answers in report["hubs"].items():
        if not answers:
            text = f"hub {url} does not answer /hub/health with 200; a drained hub stays so until it is restarted"
            console.print(text, style="red", highlight=False, markup=False, soft_wrap=True)


def _words(name: str, value: Any) -> str:
    """Return `writer unstored 3` for `"writer": {"unstored": 3}`, `failing bus hub` for a list."""
    if isinstance(value, list):
        return " ".join([name, *map(str, value)] if value else [name, "none"])
    return " ".join([name, *(f"{key} {each}" for key, each in value.items())] if isinstance(value, dict) else [name, str(value)])
