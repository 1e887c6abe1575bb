"""Check every module against one table of the packages it may import; `make check` runs it.

The tables stand in CONTRIBUTING.md for people; tests/unit/test_imports.py compares both. Layers
between our own folders are checked by import-linter (pyproject.toml).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("config", "ops", "db", "health", "jobs", "api", "cli")
ENTRY_POINTS = ("manage.py", "wsgi.py")

# packages, separated by commas -> files and folders (with "/" at the end) that may import them;
# "!" excludes
ALLOWED: dict[str, tuple[str, ...]] = {
    "os.environ": ("config/process/variables.py", "cli/doctor.py", "cli/status.py", "cli/system.py", "cli/watch.py"),
    "dotenv": ("config/process/variables.py",),
    "pythonjsonlogger": ("config/logs/format.py",),
    "prometheus_client": ("config/exposition.py",),
    "gunicorn": ("config/gunicorn/",),
    "psutil": ("ops/", "health/reporter.py", "health/measures/", "api/hub/stats.py"),
    "psycopg2": ("db/", "!db/bus/"),
    "yoyo": ("db/migrate.py",),
    "holidays": ("db/calendars.py",),
    "redis, hiredis": ("db/bus/",),
    "limits": ("db/bus/limits/",),
    "apscheduler": ("jobs/scheduler.py", "jobs/runtime/"),
    "httpx": ("jobs/feeds/",),
    "http.client": ("ops/running.py", "cli/publish.py", "api/refresh/jwks_source.py"),
    "jwt": ("api/access/tokens/",),
    "websockets": ("jobs/feeds/base.py", "jobs/feeds/binance/"),
    "hdrh": ("health/measures/stages.py", "jobs/observer/figures/execution.py"),
    "pybreaker": ("jobs/observer/collectors/",),
    "numpy": ("db/nearest_correlation.py", "jobs/analytics/", "jobs/figures/"),
    "flask, flask_smorest, werkzeug": (
        "api/app.py",
        "api/orjson_provider.py",
        "api/rest/",
        "api/hub/assembly/",
        "api/hub/transport/eventlet_loop.py",
    ),
    "flask_socketio, socketio, engineio": ("api/hub/assembly/", "api/hub/transport/"),
    "marshmallow": (
        "config/fields.py",
        "config/settings.py",
        "config/access/fields.py",
        "config/books/fields.py",
        "config/observability/fields.py",
        "api/",
    ),
    "apispec": ("api/asyncapi.py", "api/rest/schemas/security.py"),
    "eventlet": ("api/hub/transport/eventlet_http.py", "api/hub/transport/eventlet_loop.py", "config/gunicorn/eventlet_worker.py"),
    "tickwire_sendmany": ("api/hub/transport/send_many.py",),
    "click, rich": ("cli/", "manage.py"),
    "ops.startup": (
        "cli/",
        "jobs/scheduler.py",
        "jobs/health.py",
        "jobs/observer/__main__.py",
        "jobs/books/__main__.py",
        "jobs/runtime/container_check.py",
        "ops/access_check.py",
        "wsgi.py",
    ),
    "ops.metrics_endpoint": ("jobs/scheduler.py", "jobs/observer/__main__.py", "jobs/books/__main__.py"),
    "api.rest": ("api/app.py", "api/rest/"),
}

# Modules without I/O, clock or framework.
PURE = (
    "api/hub/transport/wire.py",
    "api/hub/transport/outbox/",
    "api/hub/transport/client_json.py",
    "api/hub/transport/limits/bucket.py",
    "api/hub/channels.py",
    "api/hub/schemas/request_costs.py",
    "api/hub/fanout/",
    "api/hub/messages.py",
    "api/hub/schemas/rejections.py",
    "api/hub/topic_log.py",
    "api/hub/alerts/rules.py",
    "api/hub/books/alerts.py",
    "api/hub/books/book.py",
    "api/hub/books/states.py",
    "api/hub/clients.py",
    "api/hub/rights/audience.py",
    "api/hub/rights/expiry.py",
    "api/access/",
    "api/nearest.py",
    "jobs/analytics/",
    "jobs/books/book.py",
    "jobs/books/play/flow.py",
    "jobs/books/machine.py",
    "jobs/books/measures.py",
    "jobs/books/messages.py",
    "jobs/books/parts/",
    "jobs/books/queue.py",
    "jobs/books/play/runs.py",
    "jobs/books/sequence.py",
    "jobs/books/play/shadow.py",
    "jobs/books/tops.py",
    "jobs/figures/alert_rules.py",
    "jobs/feeds/binance/messages.py",
    "jobs/feeds/binance/request_limits.py",
    "jobs/feeds/candle_rows.py",
    "jobs/feeds/files/formats/",
    "jobs/feeds/market/",
    "jobs/feeds/oanda/candles.py",
    "jobs/feeds/scenario/",
    "jobs/observer/alerts/book.py",
    "jobs/observer/alerts/events.py",
    "jobs/observer/alerts/machine.py",
    "jobs/observer/alerts/rules.py",
    "jobs/observer/alerts/values.py",
    "jobs/observer/figures/",
    "config/access/",
    "config/books/markets.py",
    "config/metrics.py",
    "config/pacing.py",
    "config/secrets.py",
    "config/urls.py",
    "config/venues.py",
    "db/admission.py",
    "db/admitted.py",
    "db/book_bodies.py",
    "db/figures/",
    "db/nearest_correlation.py",
    "db/quotes.py",
    "db/scenarios/checks.py",
    "db/scenarios/fields.py",
    "db/scenarios/lines.py",
    "db/scenarios/model.py",
    "db/scenarios/recording.py",
    "db/scenarios/run_record.py",
    "db/scenarios/status.py",
    "db/scenarios/unpacking.py",
    "db/trade_batch.py",
)
FORBIDDEN_IN_PURE = (
    *(package for row in ALLOWED for package in row.split(", ") if package not in ("hdrh", "numpy", "marshmallow", "jwt")),
    *("socket", "threading", "time", "db.bus", "db.postgres"),
)


def violations(path: str, source: str) -> list[str]:
    """Return one line per forbidden import of the module at `path`.

    The path is relative to the root and uses "/".
    """
    found = []
    for line, names in imports(source):
        for row, places in ALLOWED.items():
            if (package := _match(names, row.split(", "))) and not is_within(path, places):
                found.append(f"{path}:{line}: {package} is allowed in {', '.join(places)} only")
        if is_within(path, PURE) and (package := _match(names, FORBIDDEN_IN_PURE)):
            found.append(f"{path}:{line}: {package} is forbidden in a pure module")
    return found


def imports(source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, dotted names) of every import and every use of `os.environ` in the module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield node.lineno, [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            yield node.lineno, [f"os.{node.attr}"]


def is_within(path: str, places: tuple[str, ...]) -> bool:
    """Return True if one of the places contains the path and no excluded place does."""
    excluded = tuple(place[1:] for place in places if place.startswith("!"))
    return _under(path, tuple(place for place in places if not place.startswith("!"))) and not _under(path, excluded)


def _under(path: str, places: tuple[str, ...]) -> bool:
    return any(path.startswith(place) if place.endswith("/") else path == place for place in places)


def _match(names: list[str], packages: tuple[str, ...] | list[str]) -> str | None:
    """Return the first package that one of the imported names belongs to."""
    return next((each for each in packages for name in names if name == each or name.startswith(f"{each}.")), None)


def modules(root: Path) -> Iterator[Path]:
    """Yield every module of the product below `root`."""
    for folder in FOLDERS:
        yield from sorted((root / folder).rglob("*.py"))
    yield from (root / name for name in ENTRY_POINTS)


def main() -> int:
    """Print the violations of the whole tree; return 1 if there is one."""
    root = Path(__file__).resolve().parents[1]
    found = [line for path in modules(root) for line in violations(path.relative_to(root).as_posix(), path.read_text())]
    print("\n".join(found) or "imports: no violation")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
