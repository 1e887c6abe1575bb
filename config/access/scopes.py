"""The names of scopes. No scope implies another."""

from __future__ import annotations

from collections.abc import Iterable

READ = "read"  # prices, candles, books, figures and own alerts
OBSERVE = "observe"  # the state of the system: statistics, jobs, gaps, metrics
REPORT = "report"  # orders, fills and signals of bots
PUBLISH = "publish"  # prices from outside
OPERATE = "operate"  # acknowledge alerts, start scenarios, drain hubs
SCOPES = (READ, OBSERVE, REPORT, PUBLISH, OPERATE)
ADMIN = "admin"  # reserved: keys are managed by `manage.py`


class ScopeError(ValueError):
    """A list of scopes is invalid; the text is for an operator."""


def check_scopes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes in the order of `SCOPES`, each once. Raises `ScopeError`."""
    given = set(names)
    if ADMIN in given:
        raise ScopeError("admin is reserved: keys are managed by manage.py, not over REST.")
    if unknown := sorted(given - set(SCOPES)):
        raise ScopeError(f"unknown scope {unknown[0]!r:.40}: there are {', '.join(SCOPES)}.")
    return tuple(name for name in SCOPES if name in given)
