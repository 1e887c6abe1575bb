"""`except Exception` is at the top of a loop and logs the traceback, or it ends in `raise`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("config", "ops", "db", "health", "jobs", "api", "cli")
MODULES = [*sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")), ROOT / "manage.py", ROOT / "wsgi.py"]
BROAD = {"Exception", "BaseException"}
# functions that a loop calls, of a library or of ours: each is the top of one iteration
CALLED_BY_A_LOOP = {
    "config/gunicorn/answers.py": {"answer"},
    "config/gunicorn/eventlet_worker.py": {"_readable"},
    "config/loops.py": {"keep"},  # it runs a whole loop
    "jobs/runtime/threads.py": {"run"},  # so does it
    "api/hub/events.py": {"answer"},
    "api/hub/relay/link.py": {"_guarded"},
    "api/hub/metrics/report_queue.py": {"write"},
    "api/hub/metrics/acknowledgements.py": {"_serve"},
    "api/hub/transport/engineio_server.py": {"forget"},
    "api/hub/transport/web/arrivals.py": {"_read"},
    "api/hub/transport/web/handshakes.py": {"answer"},
    "api/hub/transport/web/requests.py": {"answer"},
    "api/hub/transport/eventlet_loop.py": {"_guarded"},
    "api/hub/transport/websocket.py": {"_handle"},
    "health/probe.py": {"_run"},
    "health/reporter.py": {"tick"},
    "jobs/observer/collectors/base.py": {"_collect"},
    "jobs/observer/loop.py": {"_watch"},
    "ops/metrics_endpoint.py": {"_page"},
}

# Handlers of the logs themselves: a formatter shows the type of the value instead, the buffer uses
# `handleError`, and the forwarder counts the records that it drops.
CANNOT_LOG = {"config/logs/format.py": 1, "config/logs/buffer.py": 1, "ops/log_forwarder.py": 1}


# Every broad handler has one of these in its text; other files need no parser.
MARKS = re.compile(r"\bexcept\s*:|\b(Base)?Exception\b")


def broad_handlers(source: str, called_by_a_loop: Set[str]) -> Iterator[tuple[ast.ExceptHandler, bool]]:
    """Yield each handler that catches everything, and whether its `try` is at the top of a loop."""
    if not MARKS.search(source):
        return
    tree = ast.parse(source)
    at_loop_top = {
        id(statement)
        for top in ast.walk(tree)
        if isinstance(top, ast.While | ast.For) or (isinstance(top, ast.FunctionDef) and top.name in called_by_a_loop)
        for statement in top.body
        if isinstance(statement, ast.Try)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            for handler in node.handlers:
                if catches_everything(handler.type):
                    yield handler, id(node) in at_loop_top


def catches_everything(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    names = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(isinstance(name, ast.Name) and name.id in BROAD for name in names)


def logs_traceback(handler: ast.ExceptHandler) -> bool:
    calls = [node for node in ast.walk(handler) if isinstance(node, ast.Call)]
    return any(
        (isinstance(call.func, ast.Attribute) and call.func.attr == "exception")
        or any(keyword.arg in ("exc_info", "traceback") for keyword in call.keywords)
        for call in calls
    )


def violations(source: str, called_by_a_loop: Set[str] = frozenset()) -> list[int]:
    """Return the lines of the handlers of neither form."""
    return [
        handler.lineno
        for handler, at_loop_top in broad_handlers(source, called_by_a_loop)
        if not isinstance(handler.body[-1], ast.Raise) and not (at_loop_top and logs_traceback(handler))
    ]


def test_broad_handlers_log_the_traceback_in_a_loop_or_raise() -> None:
    assert len(MODULES) > 500
    names = {module.relative_to(ROOT).as_posix(): module for module in MODULES}
    found = {name: violations(module.read_text(), CALLED_BY_A_LOOP.get(name, set())) for name, module in names.items()}
    wrong = {name: lines for name, lines in found.items() if len(lines) != CANNOT_LOG.get(name, 0)}
    assert wrong == {}
    assert set(CANNOT_LOG) <= set(names)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("try:\n  f()\nexcept Exception:\n  undo()\n  raise", []),
        ("while True:\n  try:\n    f()\n  except Exception:\n    log.exception('failed')", []),
        ("for each in all:\n  try:\n    f()\n  except (KeyError, Exception) as error:\n    outage.failed(error, traceback=True)", []),
        ("try:\n  f()\nexcept KeyError:\n  pass", []),
        ("while True:\n  try:\n    f()\n  except Exception:\n    pass", [4]),
        ("while True:\n  try:\n    f()\n  except Exception as error:\n    log.warning('failed: %s', error)", [4]),
        ("try:\n  f()\nexcept Exception:\n  log.exception('failed')", [3]),
        ("while True:\n  if a:\n    try:\n      f()\n    except Exception:\n      log.exception('failed')", [5]),
        ("try:\n  f()\nexcept:\n  pass", [3]),
        ("try:\n  f()\nexcept (ValueError, BaseException):\n  raise_later()", [3]),
    ],
)
def test_checker_reports_exactly_the_other_forms(source: str, expected: list[int]) -> None:
    assert violations(source) == expected


def test_function_called_by_a_loop_needs_a_traceback_too() -> None:
    silent = "def answer():\n  try:\n    f()\n  except Exception:\n    pass"
    assert violations(silent, {"answer"}) == [4]
    assert violations(silent.replace("pass", "log.exception('failed')"), {"answer"}) == []
