"""Answer of `/jobs`."""

from __future__ import annotations

from marshmallow import Schema
from marshmallow.fields import Int, List, Nested, Str

from api.rest.schemas.answers import NullableText, about, output_number, output_time


class RunSchema(Schema):
    """One run of a job."""

    as_of = output_time("Time for which the job ran; earlier than `started` if a missed run was caught up")
    started = output_time("Start")
    finished = NullableText("End; null while it runs", format="date-time")
    duration_seconds = output_number("Null while it runs", allow_none=True)
    outcome = Str(required=True, metadata=about("`running`, `succeeded`, `failed`, or `abandoned`: its process ended first"))
    rows = Int(required=True, allow_none=True, metadata=about("Number of rows written"))
    error = NullableText("Text of the failure")


class JobSchema(Schema):
    """One job."""

    id = Str(required=True, metadata=about("Its name", example="hourly_job"))
    schedule = Str(required=True, metadata=about("In words, UTC", example="every hour at :00"))
    next_run = NullableText("Start of its next run; null for a service, which runs as long as its process", format="date-time")
    last_run = Nested(RunSchema, required=True, allow_none=True, metadata=about("Its last run, null without one; services have none"))


class DutySchema(Schema):
    """A duty that a jobs process has."""

    duty = Str(required=True, metadata=about("Its name", example="source:binance"))
    process = Str(required=True, metadata=about("Name of its process in the registry", example="jobs@a1"))
    since = NullableText("Time at which the process won it", format="date-time")


class JobsSchema(Schema):
    """Every job, and every duty with its process."""

    jobs = List(Nested(JobSchema), required=True)
    count = Int(required=True, metadata=about("Number of jobs"))
    duties = List(Nested(DutySchema), required=True)
    timestamp = output_time("Time of the answer")
