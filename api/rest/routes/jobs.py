"""Jobs: their schedules and last runs."""

from __future__ import annotations

from typing import Any

from api.access.model import OBSERVE
from api.rest.context import context
from api.rest.routing import Routes
from api.rest.schemas.jobs import JobsSchema
from config.secrets import Scrubber, scrub
from config.settings import Settings
from db.job_runs import JobState, job_states
from db.timestamps import format_time
from health.duties import FRESH, held_duties
from health.system.state import living_reports

routes = Routes("jobs", "Jobs and their schedules")


@routes.get("/jobs", JobsSchema, scope=OBSERVE)
def jobs() -> Any:
    """All jobs by name, with their last runs, and the duties of the jobs processes.

    No job is there before the first scheduler has run. Without Redis there are no duties.
    """
    app = context()
    with app.store.transaction() as cursor:
        states = job_states(cursor)
    found = [
        {
            "id": state.id,
            "schedule": state.schedule,
            "next_run": state.next_run and format_time(state.next_run),
            "last_run": _run(state, app.settings),
        }
        for state in states
    ]
    app.watch.verdict()  # reads the registry if no thread does
    held = held_duties(living_reports(app.watch.present_processes(), "jobs", FRESH))
    duties = [{"duty": row.duty, "process": row.process, "since": row.since} for row in sorted(held, key=lambda row: row.duty)]
    return {"jobs": found, "count": len(found), "duties": duties, "timestamp": format_time(app.clock())}


def _run(state: JobState, settings: Settings) -> dict[str, Any] | None:
    run = state.last_run
    if run is None:
        return None
    return {
        "as_of": format_time(run.as_of),
        "started": format_time(run.started),
        "finished": run.finished and format_time(run.finished),
        "duration_seconds": run.finished and round((run.finished - run.started).total_seconds(), 3),
        "outcome": run.outcome,
        "rows": run.rows,
        "error": run.error and without_secrets(run.error, settings),
    }


def without_secrets(text: str, settings: Settings) -> str:
    """Return the text of a job's failure for clients, with `***` in place of secrets."""
    return scrub(Scrubber(settings.secrets)(text))
