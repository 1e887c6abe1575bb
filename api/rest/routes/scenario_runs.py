"""Runs of scenarios: the list, and one run with its time line."""

from __future__ import annotations

from flask import Response

from api.access.model import OBSERVE
from api.errors import ErrorCode
from api.rest.context import context
from api.rest.errors import ApiError
from api.rest.listing import answer
from api.rest.observability.exact import JSON
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.books.runs import RunsQuerySchema, ScenarioRunsSchema, WholeRunSchema
from api.rest.schemas.paging import ListQuery
from db.listing.books import SCENARIO_RUN, SCENARIO_RUNS
from db.listing.query import RowFilter, read_page
from db.scenario_runs import run_uuid

routes = Routes("scenario_runs", "Runs of incident scenarios")


@routes.listing("/scenarios/runs", ScenarioRunsSchema, takes=RunsQuerySchema, scope=OBSERVE)
def runs(query: ListQuery) -> Response:
    """Runs of scenarios and their figures, ordered by (start, run_id)."""
    return answer(SCENARIO_RUNS, query, "runs", ())


@routes.get("/scenarios/runs/<run_id>", WholeRunSchema, scope=OBSERVE, fails={404: ErrorResponseSchema})
def run(run_id: str) -> Response:
    """One run with its parameters, and its time line: phase, states, queue and lag each second."""
    if (number := run_uuid(run_id)) is not None:
        wanted = RowFilter({"run_id": number})
        page = context().reads.read(lambda cursor: read_page(cursor, SCENARIO_RUN, wanted, 1, "json"))
        if page.lines:
            return Response(page.lines[:-1], content_type=JSON)
    raise ApiError(404, ErrorCode.NOT_FOUND, "no such run", {"run_id": [run_id]})
