"""Scenario files: the four of the product, the checks of each field, the order of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from db.scenarios.checks import parse_overrides, parse_scenario
from db.scenarios.fields import ScenarioError
from db.scenarios.files import read_folder
from db.scenarios.model import FAULT_KINDS, SHIPPED, Fault, Phase
from db.scenarios.status import scenarios_body
from tests.support.book_page import SCENARIOS
from tests.support.even_recordings import FOLDER

# The example of the page "Order books".
BURST = {
    "name": "burst-mode",
    "description": "Five seconds of twenty times the load in every thirty.",
    "recording": ["btcusdt_20240808.gz"],
    "phases": [{"seconds": 25, "speed": 1}, {"seconds": 5, "speed": 20}],
    "repeat": True,
    "processing_delay_ms": 10,
    "queue_max": 2000,
    "on_full": "block",
    "faults": [],
    "seed": 1,
}


def problems(**changes: Any) -> dict[str, str]:
    """The problems of the example with some fields changed; None removes a field."""
    with pytest.raises(ScenarioError) as found:
        parse_scenario({**BURST, **changes}, "burst-mode-data.json")
    assert str(found.value).startswith("burst-mode-data.json: ")
    return found.value.problems


def test_shipped_burst_mode_is_the_example_of_the_page() -> None:
    assert read_folder(FOLDER).scenarios["burst-mode"].content == BURST


def test_body_of_shipped_scenarios_is_their_file() -> None:
    folder = read_folder(FOLDER)
    assert folder.problems == {}
    assert {name: each.scenario.body() for name, each in folder.scenarios.items()} == {
        name: each.content for name, each in folder.scenarios.items()
    }


def test_body_of_scenarios_route_is_the_example_of_the_page() -> None:
    body = scenarios_body(read_folder(FOLDER).files, "stable-mode")
    assert orjson.dumps(body) == orjson.dumps(orjson.loads(SCENARIOS))


def test_further_files_follow_the_shipped_ones_by_name(tmp_path: Path) -> None:
    for name, file in (
        ("zebra", "zebra.json"),
        ("ant", "ant-data.json"),
        ("burst-mode", "burst-mode-data.json"),
        ("stable-mode", "stable-mode.json"),
    ):
        (tmp_path / file).write_bytes(orjson.dumps({**BURST, "name": name}))
    (tmp_path / "notes.txt").write_text("no scenario")
    folder = read_folder(tmp_path)
    assert list(folder.scenarios) == ["stable-mode", "burst-mode", "ant", "zebra"]
    assert folder.scenarios["ant"].file == "ant-data.json"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("runs-data.json", b"{}", "gives the scenario the name 'runs', which is reserved"),
        ("Big.json", b"{}", "gives the scenario the name 'Big', which must have 1 to 40 of a-z"),
        ("bad.json", b"{", "bad.json: is not JSON"),
        ("list.json", b"[]", "list.json: must be a JSON object"),
        ("other.json", orjson.dumps(BURST), "other.json: name is 'burst-mode', but the file's name says 'other'"),
        ("large.json", b" " * 1_000_001, "is larger than 1000000 bytes"),
    ],
)
def test_bad_file_is_a_problem_of_its_own(tmp_path: Path, file: str, content: bytes, message: str) -> None:
    (tmp_path / file).write_bytes(content)
    (tmp_path / "good.json").write_bytes(orjson.dumps({**BURST, "name": "good"}))
    folder = read_folder(tmp_path)
    assert list(folder.scenarios) == ["good"]
    assert message in str(folder.problems[file])


def test_two_files_of_one_scenario_are_a_problem(tmp_path: Path) -> None:
    for file in ("good.json", "good-data.json"):
        (tmp_path / file).write_bytes(orjson.dumps({**BURST, "name": "good"}))
    assert "as good-data.json has: remove one of them" in str(read_folder(tmp_path).problems["good.json"])


def test_missing_folder_is_named() -> None:
    with pytest.raises(ScenarioError, match="no/folder: cannot be read: No such file"):
        read_folder(Path("no/folder"))


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"name": None}, "name", "is missing"),
        ({"name": "recordings"}, "name", "is reserved"),
        ({"name": "-x"}, "name", "must have 1 to 40"),
        ({"name": 5}, "name", "must be a text"),
        ({"description": 5}, "description", "must be a text"),
        ({"recording": []}, "recording", "must be a list of 1 to 16 items"),
        ({"recording": "a.gz"}, "recording", "must be a list"),
        ({"recording": ["a.gz", "../a.gz"]}, "recording[1]", "without a path"),
        ({"recording": [".."]}, "recording[0]", "without a path"),
        ({"phases": None}, "phases", "is missing"),
        ({"phases": [5]}, "phases[0]", "must be a JSON object"),
        ({"phases": [{"seconds": 5}]}, "phases[0].speed", "is missing"),
        ({"phases": [{"speed": 1}]}, "phases[0].seconds", "is missing"),
        ({"phases": [{"seconds": 5, "speed": 1}, {"seconds": 0, "speed": 1}]}, "phases[1].seconds", "from 0.1 to 86400"),
        ({"phases": [{"seconds": 5, "speed": 0}]}, "phases[0].speed", "from 0.001 to 1000"),
        ({"phases": [{"seconds": 5, "speed": [1, 2, 3]}]}, "phases[0].speed", "or [from, to]"),
        ({"phases": [{"seconds": 5, "speed": [1, True]}]}, "phases[0].speed", "or [from, to]"),
        ({"phases": [{"seconds": 5, "speed": 1, "rate": 2}]}, "phases[0].rate", "is unknown; the fields are seconds, speed"),
        ({"repeat": "yes"}, "repeat", "must be true or false"),
        ({"processing_delay_ms": -1}, "processing_delay_ms", "from 0 to 60000"),
        ({"processing_delay_ms": [5, 1]}, "processing_delay_ms", "with from at most to"),
        ({"queue_max": 0}, "queue_max", "whole number from 1"),
        ({"queue_max": 2.5}, "queue_max", "whole number"),
        ({"on_full": "drop"}, "on_full", "must be one of block, resync"),
        ({"seed": -1}, "seed", "whole number"),
        ({"seed": True}, "seed", "whole number"),
        ({"loop": True}, "loop", "is unknown"),
        ({"faults": {}}, "faults", "must be a list"),
        ({"faults": [{"kind": "flood", "at": 5, "rate": 1}]}, "faults[0].kind", "must be one of drop, duplicate"),
        ({"faults": [{"at": 5}]}, "faults[0].kind", "is missing"),
        ({"faults": [{"kind": "drop"}]}, "faults[0]", "needs either at (seconds after the start) or every (messages)"),
        ({"faults": [{"kind": "drop", "at": 1, "every": 2}]}, "faults[0]", "needs either at"),
        ({"faults": [{"kind": "silence", "at": 1}]}, "faults[0].seconds", "is missing"),
        ({"faults": [{"kind": "slow_bus", "at": 1, "seconds": 1}]}, "faults[0].ms", "is missing"),
        ({"faults": [{"kind": "slow_client", "at": 1, "seconds": 1, "clients": 51}]}, "faults[0].clients", "from 1 to 50"),
        ({"faults": [{"kind": "snapshot_late", "at": 1, "seconds": 601}]}, "faults[0].seconds", "from 0.001 to 600"),
        ({"faults": [{"kind": "drop", "at": 1, "count": 0}]}, "faults[0].count", "whole number from 1"),
        ({"faults": [{"kind": "drop", "at": 1, "ids": 5}]}, "faults[0].ids", "is unknown"),
    ],
)  # fmt: skip
def test_bad_field_is_named(changes: dict[str, Any], field: str, text: str) -> None:
    found = problems(**changes)
    assert list(found) == [field]
    assert text in found[field]


def test_all_faults_of_a_file_are_reported_together() -> None:
    assert set(problems(seed="x", phases=[{"seconds": -1, "speed": -1}])) == {"seed", "phases[0].seconds", "phases[0].speed"}


def test_optional_fields_have_defaults() -> None:
    least = {key: BURST[key] for key in ("name", "recording", "phases", "processing_delay_ms")}
    scenario = parse_scenario(least, "x.json")
    assert (scenario.description, scenario.repeat, scenario.queue_max, scenario.on_full, scenario.faults, scenario.seed) == (
        "", False, None, "block", (), 1,
    )  # fmt: skip


@pytest.mark.parametrize("kind", FAULT_KINDS)
def test_fault_of_each_kind_is_read_and_written_back(kind: str) -> None:
    rules = FAULT_KINDS[kind]
    fault = {"kind": kind, "at": 2.5, "seconds": 3, "count": 2} | ({rules.option: 5} if rules.option else {})
    assert [each.body() for each in parse_scenario({**BURST, "faults": [fault]}, "x").faults] == [fault]


def test_settings_fill_and_override_the_file() -> None:
    scenario = parse_scenario({**BURST, "queue_max": None, "processing_delay_ms": [2, 4]}, "x.json")
    assert (scenario.mean_delay, scenario.delay_ms) == (0.003, (2, 4))
    assert (changed := scenario.with_settings(queue_max=700, delay_ms=5)).queue_max == 700
    assert changed.delay_ms == (5, 5)
    assert parse_scenario(BURST, "x").with_settings(queue_max=700, delay_ms=None).queue_max == 2000


def test_overrides_of_a_run_replace_fields() -> None:
    values = parse_overrides({"speed": 2, "seed": 9, "loop": False, "recording": ["b.gz"], "faults": [{"kind": "drop", "every": 10}]})
    scenario = parse_scenario(BURST, "x").with_overrides(values)
    assert scenario.phases == (Phase(25, 2, 2), Phase(5, 40, 40))
    assert (scenario.seed, scenario.repeat, scenario.recording) == (9, False, ("b.gz",))
    assert scenario.faults == (Fault("drop", every=10),)


def test_no_overrides_change_nothing() -> None:
    scenario = parse_scenario(BURST, "x")
    assert scenario.with_overrides(parse_overrides({})) == scenario


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"speed": 0}, "speed"),
        ({"seed": "1"}, "seed"),
        ({"loop": 1}, "loop"),
        ({"recording": []}, "recording"),
        ({"queue_max": 5}, "queue_max"),
    ],
)
def test_bad_override_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ScenarioError) as found:
        parse_overrides(body)
    assert list(found.value.problems) == [field]


def test_speed_that_makes_a_phase_too_fast_is_refused() -> None:
    with pytest.raises(ScenarioError, match="speed makes the highest speed 20 above 1000: use at most 50"):
        parse_scenario(BURST, "x").with_overrides(parse_overrides({"speed": 51}))


def test_names_of_the_product_come_first() -> None:
    assert tuple(read_folder(FOLDER).scenarios) == SHIPPED
