"""The check of REST: four routes answer as documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ops.doctor.parallel import Answer, Missing
from ops.doctor.results import Result, failure, result, unknown
from ops.running import failure_of, send

# Answers of REST about the caller. An operator without a key learns that REST works.
_REFUSALS = (401, 403, 429)
_INSTRUMENT = "EUR_USD"  # every database has it


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """One request: the reason why its answer is not as documented, or ""."""

    path: str
    status: int
    fault: str


@dataclass(frozen=True, slots=True)
class _Route:
    path: str
    accept: str
    statuses: tuple[int, ...]
    fits: Callable[[bytes], bool]


def _with_key(*names: str) -> Callable[[bytes], bool]:
    """Return a test for a JSON object with one of these names."""

    def fits(body: bytes) -> bool:
        try:
            found: Any = json.loads(body)
        except ValueError:
            return False
        return isinstance(found, dict) and any(name in found for name in names)

    return fits


def _is_exposition(body: bytes) -> bool:
    return b"# TYPE " in body


_JSON = "application/json"
ROUTES = (
    _Route("/health", _JSON, (200, 503), _with_key("status")),
    _Route("/symbols", _JSON, (200,), _with_key("symbols")),
    # 404: there is no price yet
    _Route(f"/price/latest?symbol={_INSTRUMENT}", _JSON, (200, 404), _with_key("price", "code", "error")),
    _Route("/metrics", "text/plain", (200,), _is_exposition),
)


def read_rest(url: str, key: str | None, seconds: float) -> list[RestAnswer]:
    """Request all routes at once; each must answer within `seconds`."""
    with ThreadPoolExecutor(len(ROUTES)) as threads:
        return list(threads.map(lambda route: _request(url, route, key, seconds), ROUTES))


def _request(url: str, route: _Route, key: str | None, seconds: float) -> RestAnswer:
    headers = {"Accept": route.accept, **({"Authorization": f"Bearer {key}"} if key else {})}
    status, body = send("GET", url, route.path, headers=headers, seconds=seconds)
    path = route.path.partition("?")[0]
    if status == 0:
        return RestAnswer(path, status, failure_of(url, seconds))
    if status in _REFUSALS:
        return RestAnswer(path, status, "")
    if status not in route.statuses:
        return RestAnswer(path, status, f"status {status}")
    return RestAnswer(path, status, "" if route.fits(body) else f"status {status} with another body than documented")


def judge(url: str, answers: Answer[list[RestAnswer]]) -> Result:
    """Return the result of the check."""
    if isinstance(answers, Missing):
        return result("REST", "", [unknown(f"cannot be checked at {url} ({answers.reason})", "set API_HOST and API_PORT to its address")])
    faults = [answer for answer in answers if answer.fault]
    if faults and all(answer.status == 0 for answer in faults) and len(faults) == len(answers):
        remedy = "start it with `manage.py up`, or set API_HOST and API_PORT to its address"
        return result("REST", "", [failure(f"no answer at {url} ({faults[0].fault})", remedy)])
    remedy = "GET /api/system/logs/recent has the cause; API_PORT must be that of REST"
    problems = [failure(f"{answer.path}: {answer.fault}", remedy) for answer in faults]
    refused = sum(answer.status in _REFUSALS for answer in answers)
    more = f", {refused} of {len(answers)} answers are refusals: TICKWIRE_API_KEY has no key with their scopes" if refused else ""
    return result("REST", f"{len(answers)} routes answer at {url}{more}", problems)
