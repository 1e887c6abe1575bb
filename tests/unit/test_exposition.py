"""Families: what collectors may add, their text, and the union of several processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry, Histogram, ProcessCollector, generate_latest

from config.exposition import Collected, Exposition, merge, read_families, render, represent, without_acting
from config.metrics import REQUEST_BUCKETS
from db.measures import Buckets, Counts, Many, total
from health.measures.process import new_exposition
from tests.support.samples import samples

VALUES = (0.0, 0.005, 0.0051, 0.3, 5.0, 99.0)


def test_histogram_equals_that_of_the_client_library() -> None:
    ours, registry = Many(REQUEST_BUCKETS, ("/",)), CollectorRegistry()
    theirs = Histogram("api_request_duration_seconds", "Seconds.", ["endpoint"], registry=registry, buckets=REQUEST_BUCKETS)
    for value in VALUES:
        ours.observe(value, "/")
        theirs.labels("/").observe(value)
    exposition = Exposition("rest")
    exposition.register(lambda found: found.add_many("api_request_duration_seconds", ours.items()))
    found = samples(render(exposition.families(), represent(None))[0].decode())
    wanted = [each for each in samples(generate_latest(registry).decode()) if not each[0].endswith("_created")]
    assert sorted(map(repr, found)) == sorted(map(repr, wanted))


def test_measures_add_up_and_take_the_largest_value_once() -> None:
    counts, one, other = Counts(("a",)), Buckets((1.0, 2.0)), Buckets((1.0, 2.0))
    counts.add("b", by=2.5)
    counts.add("b")
    assert counts.values() == {("a",): 0, ("b",): 3.5}
    for value in (-1.0, 1.0, 1.5):
        one.observe(value)
    other.observe(7.0)
    assert total([one, other]).read() == ([2, 1, 1], 9.5)
    assert (one.take_max(), one.take_max()) == (1.5, 0.0)


@pytest.mark.parametrize(
    ("add", "error"),
    [
        (lambda found: found.add("tickwire_unknown", 1), KeyError),
        (lambda found: found.add("tickwire_hub_clients", 1), ValueError),
        (lambda found: found.add("tickwire_hub_clients", 1, transport="plain", more="x"), ValueError),
        (lambda found: found.add("tickwire_hub_clients", float("nan"), transport="plain"), ValueError),
        (lambda found: found.add("tickwire_hub_relay_lag_seconds", 1), ValueError),
        (lambda found: found.add("tickwire_source_up", 1, source="oanda"), ValueError),
        (lambda found: found.add_buckets("tickwire_hub_relay_lag_seconds", Buckets((1.0,))), ValueError),
    ],
)
def test_samples_outside_the_table_are_refused(add: Callable[[Collected], None], error: type[Exception]) -> None:
    with pytest.raises(error):
        add(Collected("hub"))


def test_a_collector_that_raises_is_left_out_whole_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    exposition = Exposition("hub")

    def broken(found: Collected) -> None:
        found.add("tickwire_hub_clients_limit", 1)
        raise RuntimeError("of the test")

    exposition.register(broken)
    exposition.register(lambda found: found.add("tickwire_hub_bus_connected", True))
    with caplog.at_level(logging.ERROR):
        found = [exposition.families() for _ in range(3)]
    assert found == [{"tickwire_hub_bus_connected": [("", {}, 1)]}] * 3
    assert [record.message for record in caplog.records] == ["metrics are left out"]


def test_a_standby_leaves_out_the_metrics_of_the_acting_process() -> None:
    acts = False
    exposition = Exposition("jobs", acting=lambda: acts)
    exposition.register(lambda found: found.add("tickwire_bus_epochs_total", 2))
    exposition.register(lambda found: found.add("tickwire_acting", acts, service="jobs"))
    assert set(exposition.families()) == {"tickwire_acting"}
    acts = True
    assert set(exposition.families()) == {"tickwire_acting", "tickwire_bus_epochs_total"}
    assert set(without_acting(exposition.families())) == {"tickwire_acting"}


def test_families_survive_a_report_and_gain_the_label_process() -> None:
    sent: Any = orjson.loads(orjson.dumps(new_exposition("jobs").report()))
    families = read_families("jobs", sent)
    merged = merge({"jobs@a": families, "hub:1@a": families})
    for name, found in merged.items():
        assert len(found) == 2 * len(families[name])
        assert {labels["process"] for _, labels, _ in found} <= {"jobs@a", "hub:1@a"}
    text = render(merged, represent(None))[0].decode()
    assert len([line for line in text.splitlines() if line.startswith("# TYPE")]) == len(merged)


def test_process_metrics_equal_those_of_the_client_library() -> None:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    theirs = {name: value for name, _, value in samples(generate_latest(registry).decode())}
    ours = {name: found[0][2] for name, found in new_exposition("hub").families().items() if name.startswith("process_")}
    assert ours.keys() == theirs.keys()
    for name in ("process_start_time_seconds", "process_max_fds"):
        assert ours[name] == pytest.approx(theirs[name], abs=0.02)
    for name in ("process_virtual_memory_bytes", "process_resident_memory_bytes", "process_cpu_seconds_total"):
        assert ours[name] == pytest.approx(theirs[name], rel=0.2, abs=0.5)
    assert ours["process_open_fds"] == pytest.approx(theirs["process_open_fds"], abs=3)
