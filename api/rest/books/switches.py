"""Switches of the scenario by REST: the body of the request, and the refusals."""

from __future__ import annotations

from typing import Any

import orjson
from flask import request

from api.errors import ErrorCode
from api.nearest import suggestion
from api.rest.context import context
from api.rest.errors import ApiError, invalid_payload, refuse_other_types
from config.books.checks import SCENARIO_FOLDER
from db.instruments import all_instruments
from db.scenarios.checks import parse_overrides
from db.scenarios.fields import ScenarioError
from db.scenarios.files import ScenarioFile, ScenarioFolder, read_folder, recording_folders
from db.scenarios.model import Overrides
from db.scenarios.switching import NotConfirmed, Switch, UnknownScenario, checked_scenario, switch_scenario


def scenario_folder() -> ScenarioFolder:
    """Return the scenarios as their files are now. Raises `ApiError` if they cannot be read."""
    try:
        return read_folder(SCENARIO_FOLDER)
    except ScenarioError as error:
        raise ApiError(503, ErrorCode.UNAVAILABLE, f"the scenarios cannot be read: {error}", {"part": "scenarios"}) from None


def scenario_named(name: str) -> ScenarioFile:
    """Return one scenario. Raises `ApiError` 404 `unknown_scenario`."""
    scenarios = scenario_folder().scenarios
    if name not in scenarios:
        raise _unknown(UnknownScenario(name, list(scenarios)))
    return scenarios[name]


def switch_to(name: str) -> Switch:
    """Begin a run of the scenario with the values in the body of the current request.

    Raises `ApiError`: 404, 409 `scenario_unavailable`, 422, and 503 without a confirmation.
    """
    app = context()
    scenario_named(name)
    if not app.settings.plays_scenarios:
        message = "no scenario can be played: SOURCES does not contain scenario"
        raise ApiError(409, ErrorCode.SCENARIO_UNAVAILABLE, message, {"scenario": [name]})
    try:
        values = parse_overrides(_body())
        _check(name, values)
        return switch_scenario(app.bus, name, values, app.clock())
    except UnknownScenario as error:  # its file was removed just now
        raise _unknown(error) from None
    except ScenarioError as error:
        raise invalid_payload({field or "body": [problem] for field, problem in error.problems.items()}) from None
    except NotConfirmed as error:
        raise ApiError(503, ErrorCode.UNAVAILABLE, f"{error}: `manage.py status` shows the processes", {"part": "books"}) from None


def _check(name: str, values: Overrides) -> None:
    app = context()
    with app.store.transaction() as cursor:
        instruments = {each.symbol for each in all_instruments(cursor)}
    checked_scenario(scenario_folder(), name, values, recording_folders(app.settings.hub_data_dir), instruments)


def _body() -> Any:
    """Return the JSON of the body, {} without a body. Raises 422."""
    refuse_other_types()
    text = request.get_data()
    try:
        return orjson.loads(text) if text else {}
    except orjson.JSONDecodeError as error:
        raise invalid_payload({"body": [f"Not JSON: {error}."]}) from None


def _unknown(error: UnknownScenario) -> ApiError:
    message = f"no such scenario: {error.name:.64}{suggestion([error.name], error.available, lambda _: True)}"
    return ApiError(404, ErrorCode.UNKNOWN_SCENARIO, message, {"available_scenarios": error.available})
