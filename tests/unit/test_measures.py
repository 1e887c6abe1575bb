"""Resources against /proc, durations of stages against numpy."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy
import pytest

from health.measures.process import new_exposition
from health.measures.resources import MachineResources, ProcessResources
from health.measures.stages import ENCODE_SECONDS, PUBLISH, SOCKETS, STORE, Stages, merged, percentiles_ms, stage_texts
from tests.conftest import until
from tests.support.fake_time import FakeTime


def of_status(name: str) -> int:
    """A number of /proc/self/status."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0])


def busy_share() -> tuple[int, int]:
    """Idle and all jiffies of the machine, of /proc/stat."""
    fields = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return fields[3] + fields[4], sum(fields[:8])


# resources


def test_resources_of_the_process_are_those_of_proc() -> None:
    found = ProcessResources()()
    assert found["threads"] == of_status("Threads")
    assert abs(found["fds"] - len(os.listdir("/proc/self/fd"))) <= 2  # the listing itself opens one
    assert found["rss_bytes"] == pytest.approx(of_status("VmRSS") * 1024, rel=0.1)


def test_share_of_the_cpu_is_the_cpu_time_of_the_process() -> None:
    measure = ProcessResources()
    began, used = time.monotonic(), time.process_time()
    while time.monotonic() < began + 0.3:
        sum(range(1000))
    share = 100 * (time.process_time() - used) / (time.monotonic() - began)
    assert measure()["cpu_percent"] == pytest.approx(share, abs=25)


def test_memory_of_the_machine_is_that_of_proc() -> None:
    meminfo = {line.split(":")[0]: int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines()}
    expected = 100 * (1 - meminfo["MemAvailable"] / meminfo["MemTotal"])
    assert MachineResources(Path("var"))().memory_percent == pytest.approx(expected, abs=3)


def test_network_of_the_machine_is_that_of_proc() -> None:
    rows = [line.split(":")[1].split() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    before = sum(int(row[0]) for row in rows)
    found = MachineResources(Path("var"))().network_bytes_recv
    if found is None:
        assert rows == []
    else:
        rows = [line.split(":")[1].split() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
        assert before <= found <= sum(int(row[0]) for row in rows)


def test_cpu_of_the_machine_is_the_share_of_jiffies() -> None:
    clock = FakeTime()
    measure = MachineResources(Path("var"), clock.monotonic)
    assert measure().cpu_percent is None  # no time has passed
    idle, total = busy_share()
    until(lambda: busy_share()[1] - total >= 40)
    clock.wait(1)
    found = measure().cpu_percent
    idle, total = busy_share()[0] - idle, busy_share()[1] - total
    assert found == pytest.approx(100 * (1 - idle / total), abs=30)


def test_disk_is_that_of_the_nearest_existing_folder(tmp_path: Path) -> None:
    figures = os.statvfs(tmp_path)
    used = figures.f_blocks - figures.f_bfree
    found = MachineResources(tmp_path / "not" / "yet")().disk_usage_percent
    assert found == pytest.approx(100 * used / (used + figures.f_bavail), abs=1)


# stages


def texts(stages: Stages, stage: str) -> list[object]:
    return stage_texts([stages.part()]).get(stage, [])


def test_merged_percentiles_are_those_of_numpy() -> None:
    random = numpy.random.default_rng(15)
    samples = random.lognormal(-6, 1.5, 3000)
    clock = FakeTime()
    processes = [Stages(clock.monotonic) for _ in range(3)]
    for number, sample in enumerate(samples):
        processes[number % 3].record(SOCKETS, float(sample))
    histogram = merged(text for each in processes for text in texts(each, SOCKETS))
    assert histogram.get_total_count() == 3000
    for percentile, found in zip((50, 95, 99), percentiles_ms(histogram, 50, 95, 99), strict=True):
        expected = 1000 * numpy.percentile(samples, percentile, method="inverted_cdf")
        assert found == pytest.approx(expected, rel=0.001, abs=0.001)


def test_durations_leave_the_window_after_a_minute() -> None:
    clock = FakeTime()
    stages = Stages(clock.monotonic)
    stages.record(STORE, 0.5)
    clock.wait(50)
    assert percentiles_ms(merged(texts(stages, STORE)), 50)[0] == pytest.approx(500, rel=0.001)
    clock.wait(30)
    assert texts(stages, STORE) == []


def test_rates_are_per_second_of_the_last_minute() -> None:
    clock = FakeTime()
    stages = Stages(clock.monotonic)
    for _ in range(50):  # 200 s with one count per second
        clock.wait(ENCODE_SECONDS)
        stages.count("relayed", int(ENCODE_SECONDS))
        part = stages.part()
    assert (part["counters"], part["rates"]) == ({"relayed": 200}, {"relayed": 1.0})
    for _ in range(25):
        clock.wait(ENCODE_SECONDS)
        part = stages.part()
    assert (part["counters"], part["rates"]) == ({"relayed": 200}, {"relayed": 0.0})


def test_part_is_encoded_once_in_four_seconds() -> None:
    clock = FakeTime()
    stages = Stages(clock.monotonic)
    first = stages.part()
    stages.record(PUBLISH, 0.1)
    assert stages.part() is first
    clock.wait(ENCODE_SECONDS)
    assert list(stages.part()["stages"]) == [PUBLISH]


def test_duration_outside_the_range_is_kept_at_its_end() -> None:
    stages = Stages(FakeTime().monotonic)
    for seconds in (-1.0, 0.0, 1e9):
        stages.record(STORE, seconds)
    histogram = merged(texts(stages, STORE))
    assert (histogram.get_total_count(), percentiles_ms(histogram, 1)[0]) == (3, 0.001)


@pytest.mark.parametrize("text", ["", "nothing", "HISTFAAAA", None, 7, "é", "HISTFAAAABx4nJNpmSzMwMCgyAABAA==" * 3])
def test_damaged_histogram_of_another_process_is_left_out(text: object) -> None:
    stages = Stages(FakeTime().monotonic)
    stages.record(STORE, 0.001)
    histogram = merged([text, *texts(stages, STORE)])
    assert histogram.get_total_count() == 1
    assert percentiles_ms(merged([text]), 50, 99) == (None, None)


def test_a_process_without_descriptors_keeps_its_last_figures_and_its_other_metrics() -> None:
    measure, exposition = ProcessResources(), new_exposition("hub")
    before = measure()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        found, families = measure(), exposition.families()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == before
    assert "tickwire_build_info" in families
    assert "process_resident_memory_bytes" not in families
