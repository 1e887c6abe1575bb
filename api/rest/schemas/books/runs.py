"""Runs of scenarios: the query, and the answers."""

from __future__ import annotations

from typing import get_args

from marshmallow import Schema, validate
from marshmallow.fields import Dict, Int, List, Nested, Raw, Str

from api.rest.schemas.answers import NullableText, about, output_number, output_time
from api.rest.schemas.arguments import PRINTABLE
from api.rest.schemas.listings import ListQuerySchema, choice, next_page, token_argument
from db.listing import books as listings
from db.scenarios.run_record import Outcome

OUTCOMES: tuple[str, ...] = get_args(Outcome)


class RunsQuerySchema(ListQuerySchema):
    """Runs of scenarios; `start` and `end` refer to their start times."""

    scenario = Str(validate=PRINTABLE, metadata=about("Name of the scenario", example="burst-mode"))
    outcome = choice(OUTCOMES, "How the run ended, or `running`")
    page_token = token_argument(listings.SCENARIO_RUNS)


def _count(text: str) -> Int:
    return Int(required=True, allow_none=True, metadata=about(text))


class ScenarioRunSchema(Schema):
    """One run of a scenario."""

    run_id = Str(required=True, metadata=about("Its UUID"))
    scenario = Str(required=True)
    start = output_time("Start")
    end = NullableText("End; null while it runs", format="date-time")
    seed = Int(required=True, metadata=about("Of its random numbers: a run with the same seed repeats exactly"))
    peak_queue = _count("The largest number of messages between feed and book")
    peak_lag_ms = output_number("The longest time from a message's due time to its publication", allow_none=True)
    gaps = _count("Number of changes to `gap`, all books together")
    resyncs = _count("Number of returns to `live` after a new snapshot, without those of a restarted recording")
    detect_seconds = output_number(
        "From the first fault or overload to a status that is not `healthy`; null if there was none", allow_none=True
    )
    recover_seconds = output_number("From the end of the last fault or overload to 5 s of `healthy`; null until then", allow_none=True)
    wrong_books = _count("Books that were published as live and differ from the shadow book; must be 0")
    outcome = Str(
        required=True,
        allow_none=True,
        validate=validate.OneOf(OUTCOMES),
        metadata=about("`running`, `finished` (all phases were played), `switched` or `failed`"),
    )


class ScenarioRunsSchema(Schema):
    """A page of runs."""

    runs = List(Nested(ScenarioRunSchema), required=True)
    next_page_token = next_page()


class WholeRunSchema(ScenarioRunSchema):
    """One run with its parameters and its time line."""

    parameters = Dict(required=True, metadata=about("The scenario file as it was played, with the values of the request"))
    timeline = List(
        Raw(),
        required=True,
        allow_none=True,
        metadata=about("One entry a second: `second`, `phase`, `speed`, `status`, `queue`, `lag_ms`, and `books` with the states"),
    )


WholeRunSchema.__name__ = "ScenarioRunDetailsSchema"  # names the component of the OpenAPI document
