"""`GET /metrics`: the metrics for Prometheus, and a few figures as JSON."""

from __future__ import annotations

from flask import Response, request

from api.access.model import OBSERVE
from api.rest.context import AppContext, context
from api.rest.measures.figures import figures
from api.rest.observability.exact import exact
from api.rest.routing import Routes
from api.rest.schemas.observability.prometheus import FiguresSchema, FormatQuery, FormatQuerySchema
from config.exposition import render, represent
from health.probe import CONNECTED
from health.system.state import acting_process, living_reports
from health.verdict import Verdict
from health.watch import DATABASE

_TEXTS = ("text/plain", "application/openmetrics-text")
_DOCUMENTED = {"responses": {200: {"content": {kind: {"schema": {"type": "string"}} for kind in _TEXTS}}}}

routes = Routes("prometheus", "Metrics for Prometheus")


@routes.get("/metrics", FiguresSchema, scope=OBSERVE, takes=FormatQuerySchema, doc=_DOCUMENTED)
def metrics(query: FormatQuery) -> Response:
    """Metrics as text for Prometheus; figures of the jobs processes as JSON.

    JSON is the answer to `?format=json`, and to `Accept: application/json` unless a text form has a
    higher `q`. Every other request is answered with text: OpenMetrics if `Accept` names it, else
    the text format 0.0.4. With `METRICS_SCOPE=all`, the text has the metrics of every process.
    While Redis is away, it has those of this process.
    """
    app = context()
    verdict = app.watch.verdict()  # runs the checks if no thread does
    chosen = represent(request.headers.get("Accept"), query.format)
    response = _figures(app, verdict) if chosen.kind == "json" else _text(*render(app.metrics(), chosen))
    response.vary.add("Accept")
    return response


def _text(text: bytes, content_type: str) -> Response:
    return Response(text, content_type=content_type)


def _figures(app: AppContext, verdict: Verdict) -> Response:
    processes = app.watch.present_processes()
    jobs, acting = living_reports(processes, "jobs"), acting_process(processes, "jobs")
    return exact(figures(jobs, acting, app.clock(), database_connected=app.watch.state(DATABASE, verdict) == CONNECTED))
