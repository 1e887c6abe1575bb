"""Bodies and answers of `/scenarios`. The checks are those of `db.scenarios`."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema
from marshmallow.fields import Bool, Dict, Float, Int, List, Nested, Raw, Str

from api.rest.schemas.answers import about, output_number, output_time


class ScenariosSchema(Schema):
    """All scenarios and the current one."""

    available_scenarios = List(Str(), required=True, metadata=about("Those of the product, then the others by name"))
    current_scenario = Str(required=True, metadata=about("The scenario that is played; `SCENARIO` if none is"))
    scenario_files = Dict(keys=Str(), values=Str(), required=True, metadata=about("Scenario to its file in `data/scenarios`"))


class PhaseSchema(Schema):
    """A part of a scenario."""

    seconds = output_number("Its duration")
    speed = Raw(required=True, metadata=about("Recorded seconds per second: a number, or `[from, to]`", example=20))


class FaultSchema(Schema):
    """A fault: `at` (seconds after the start) or `every` (messages), limited by the others."""

    kind = Str(required=True, metadata=about("Kind of the fault", example="drop"))
    at = Float(metadata=about("Seconds after the start"))
    every = Int(metadata=about("Number of messages"))
    seconds = Float(metadata=about("Duration"))
    count = Int(metadata=about("Number of repetitions"))


class ScenarioSchema(Schema):
    """The content of a scenario file."""

    name = Str(required=True, metadata=about("Its name", example="burst-mode"))
    description = Str(metadata=about("For people"))
    recording = List(Str(), required=True, metadata=about("Recordings that are played one after the other"))
    phases = List(Nested(PhaseSchema), required=True)
    repeat = Bool(metadata=about("The phases begin again"))
    processing_delay_ms = Raw(required=True, metadata=about("Delay of each message: a number, or `[from, to]`"))
    queue_max = Int(metadata=about("Limit of the queue; without it `SCENARIO_QUEUE_MAX`"))
    on_full = Str(metadata=about("`block`: the player waits. `resync`: the queue is emptied, and the book begins anew"))
    faults = List(Nested(FaultSchema))
    seed = Int(metadata=about("Equal seeds give equal runs"))


class SwitchSchema(Schema):
    """Values of one run that replace those of the file. All may be missing."""

    speed = Float(metadata=about("Factor of the speed of each phase", example=2))
    seed = Int()
    loop = Bool(metadata=about("Replaces `repeat`"))
    recording = List(Str(), metadata=about("Names of recordings", example=["btcusdt_20240808.gz"]))
    faults = List(Nested(FaultSchema))


class SwitchedSchema(Schema):
    """The run has begun."""

    message = Str(required=True, metadata=about("For people", example="Switched to scenario burst-mode"))
    current_scenario = Str(required=True)
    previous_scenario = Str(required=True)
    run_id = Str(required=True, metadata=about("Its id, as in `/scenarios/runs`"))
    timestamp = output_time("Time of the switch")


class RecordingSchema(Schema):
    """A recording that is kept."""

    recording = Str(required=True, metadata=about("Its name", example="btcusdt_20240808.gz"))
    instruments = List(Str(), required=True)
    lines = Int(required=True, metadata=about("All lines"))
    messages = Int(required=True, metadata=about("Depth messages"))
    seconds = output_number("Time from the first to the last message of a book")
    sha256 = Str(required=True, metadata=about("Of the file, hexadecimal"))


SWITCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "Values of this run; without a body, those of the file",
        "content": {"application/json": {"schema": SwitchSchema}},
    }
}
UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "gzip of raw Binance lines, at most 64 MiB and 512 MiB unpacked. The name of the file is that of the recording",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "contentMediaType": "application/gzip"}},
                }
            }
        },
    }
}
