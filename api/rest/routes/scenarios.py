"""Incident scenarios: their files, switches to another one, and new recordings."""

from __future__ import annotations

from typing import Any

from flask import Response

from api.access.model import OBSERVE, OPERATE
from api.rest.books.process import scenario_now
from api.rest.books.switches import scenario_folder, scenario_named, switch_to
from api.rest.books.uploads import receive_recording
from api.rest.context import context
from api.rest.observability.exact import exact
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.books.scenarios import (
    SWITCH_BODY,
    UPLOAD_BODY,
    RecordingSchema,
    ScenarioSchema,
    ScenariosSchema,
    SwitchedSchema,
)
from db.scenarios.status import scenarios_body

routes = Routes("scenarios", "Incident scenarios")

_UNKNOWN = {404: ErrorResponseSchema}


@routes.get("/scenarios", ScenariosSchema, scope=OBSERVE)
def scenarios() -> Any:
    """All scenarios, the current one, and their files."""
    return scenarios_body(scenario_folder().files, scenario_now(context().settings, context().bus))


# Before `/scenarios/<name>`: the names `recordings` and `runs` are reserved.
@routes.post(
    "/scenarios/recordings",
    RecordingSchema,
    scope=OPERATE,
    status=201,
    fails={409: ErrorResponseSchema, 413: ErrorResponseSchema, 422: ErrorResponseSchema, 503: ErrorResponseSchema},
    doc=UPLOAD_BODY,
)
def upload() -> Any:
    """Upload a recording for scenarios: gzip of raw Binance lines, in the form field `file`.

    Each line is checked; `details.line` is the number of a bad one. At most 64 MiB, and 512 MiB
    unpacked: otherwise 413. The body may take 120 s. A name that exists is a `conflict`.
    """
    return receive_recording()


@routes.get("/scenarios/<name>", ScenarioSchema, scope=OBSERVE, fails=_UNKNOWN)
def scenario(name: str) -> Response:
    """The content of one scenario's file."""
    return exact(scenario_named(name).content)


@routes.post(
    "/scenarios/<name>",
    SwitchedSchema,
    scope=OPERATE,
    fails={404: ErrorResponseSchema, 409: ErrorResponseSchema, 422: ErrorResponseSchema, 503: ErrorResponseSchema},
    doc=SWITCH_BODY,
)
def switch(name: str) -> Any:
    """Switch to a scenario, or start it again; the body may replace values of its file.

    Waits at most 2 s for the process `books`, otherwise 503. 409 `scenario_unavailable`: `SOURCES`
    does not contain `scenario`.
    """
    found = switch_to(name)
    return {
        "message": f"Switched to scenario {found.current}",
        "current_scenario": found.current,
        "previous_scenario": found.previous,
        "run_id": found.run_id,
        "timestamp": found.timestamp,
    }
