"""The supervisor with small shell scripts as children."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from ops.children import describe_end, hold_stop_signals, stop_asked, tail
from ops.supervisor import FIRST_DELAY_SECONDS as FIRST_DELAY
from ops.supervisor import LONGEST_DELAY_SECONDS as LONGEST_DELAY
from ops.supervisor import Process, StartError, StopAsked, Supervisor, restart_delay
from tests.conftest import until


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """A supervisor that restarts at once, in a process that blocks stop signals like `up`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    hold_stop_signals()
    with Supervisor(jitter=lambda: 1.0, clock=_Fast()) as made:
        yield made
    while signal.sigtimedwait((signal.SIGTERM,), 0):
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Fast:
    """A clock with restarts that are due at once and time limits that never pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


def script(name: str, text: str, **more: object) -> Process:
    return Process(name=name, argv=("sh", "-c", text), **more)  # type: ignore[arg-type]


def stop_us() -> None:
    """Send a stop signal to the supervising thread, not to pytest."""
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def written(file: Path) -> int:
    """Return the pid that a script wrote to the file."""
    until(lambda: file.is_file() and file.read_text().endswith("\n"), what=str(file))
    return int(file.read_text())


def backoff(failures: int, luck: float) -> float:
    return restart_delay(failures + 1, 1 - luck)


def test_back_off_doubles_from_half_a_second_to_a_cap() -> None:
    assert [backoff(failures, 0.0) for failures in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff(10**9, 0.0) == LONGEST_DELAY


@pytest.mark.parametrize("failures", [0, 3, 20])
def test_jitter_takes_up_to_a_fifth_off(failures: int) -> None:
    assert backoff(failures, 0.0) * 0.8 < backoff(failures, 0.999) < backoff(failures, 0.5) < backoff(failures, 0.0)
    assert FIRST_DELAY * 0.8 <= backoff(failures, 0.999) <= LONGEST_DELAY


def test_end_is_described_by_exit_code_or_signal() -> None:
    assert (describe_end(3), describe_end(-9)) == ("exit code 3", "signal SIGKILL")


def test_start_waits_until_all_are_ready(supervisor: Supervisor, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    supervisor.start(script("a", f"touch {mark}; exec sleep 60", ready=mark.exists), script("b", "exec sleep 60"))
    assert mark.exists()
    assert set(supervisor.pids) == {"a", "b"}


def test_child_has_its_own_session_and_receives_signals(supervisor: Supervisor) -> None:
    supervisor.start(script("a", "exec sleep 60"))
    pid = supervisor.pids["a"]
    assert os.getsid(pid) == pid
    blocked = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) == 0


def test_child_that_ends_during_start_is_an_error_with_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"(?s)a ended while starting \(exit code 3\).*out of luck"):
        supervisor.start(script("a", "echo out of luck >&2; exit 3", log=tmp_path / "a.log", ready=lambda: False))


def test_child_that_is_never_ready_is_an_error(supervisor: Supervisor) -> None:
    with pytest.raises(StartError, match="a was not ready within 0 s"):
        supervisor.start(script("a", "exec sleep 60", ready=lambda: False, ready_seconds=0.0))


def test_missing_program_is_an_error(supervisor: Supervisor) -> None:
    with pytest.raises(StartError, match="a cannot be started"):
        supervisor.start(Process(name="a", argv=("/no/such/program",)))


def test_stop_signal_ends_the_wait_for_readiness(supervisor: Supervisor) -> None:
    def not_yet() -> bool:
        stop_us()
        return False

    with pytest.raises(StopAsked):
        supervisor.start(script("a", "exec sleep 60", ready=not_yet))


def restarted(supervisor: Supervisor, name: str, act: Callable[[int], None]) -> int:
    """Call `act` with a child's pid, supervise until the pid changes, and return the new one."""
    first = supervisor.pids[name]

    def changed(pids: dict[str, int]) -> None:
        if pids.get(name) == first:
            act(first)
        elif name in pids:
            stop_us()

    supervisor.supervise(changed)
    return supervisor.pids[name]


def test_child_that_ends_is_restarted_and_its_children_are_killed(
    supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = tmp_path / "worker"
    supervisor.start(script("a", f"[ -e {worker} ] || (sleep 300 & echo $! > {worker}); exec sleep 60"))
    first, orphan = supervisor.pids["a"], written(worker)
    second = restarted(supervisor, "a", lambda pid: os.kill(pid, signal.SIGKILL))
    assert second != first
    assert gone(first)
    until(lambda: gone(orphan), what="the end of the dead child's worker")
    [ended] = [record for record in caplog.records if record.msg == "child ended, restarting"]
    assert ended.__dict__["child"] == "a"
    assert ended.__dict__["reason"] == "signal SIGKILL"


def asked_to_restart(supervisor: Supervisor, name: str) -> int:
    """Request the restart of a child, supervise until its pid changes, and return the new one."""
    first = supervisor.pids[name]
    supervisor.restart([name])
    supervisor.supervise(lambda pids: stop_us() if pids.get(name, first) != first else None)
    return supervisor.pids[name]


def test_requested_restart_is_no_failure_and_leaves_the_others(supervisor: Supervisor, caplog: pytest.LogCaptureFixture) -> None:
    supervisor.start(script("a", "exec sleep 60"), script("b", "exec sleep 60"))
    first, other = supervisor.pids["a"], supervisor.pids["b"]
    assert asked_to_restart(supervisor, "a") != first
    assert gone(first)
    assert supervisor.pids["b"] == other
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_child_that_does_not_stop_for_a_restart_is_killed(supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    deaf = tmp_path / "deaf"
    supervisor.start(script("a", f"trap '' TERM; echo $$ > {deaf}; while :; do sleep 0.02; done", stop_seconds=0.2))
    pid = written(deaf)
    asked_to_restart(supervisor, "a")
    assert gone(pid)
    assert "did not stop in time, killed" in [record.msg for record in caplog.records]


def test_requested_restart_ends_a_back_off(supervisor: Supervisor) -> None:
    """The clock stands still, so that no back-off ends by itself."""
    with Supervisor(clock=lambda: 0.0) as still:
        still.start(script("a", "exec sleep 60"))
        first = still.pids["a"]
        os.kill(first, signal.SIGKILL)

        def each_round() -> None:
            if "a" not in still.pids:
                still.restart(["a"])
            elif still.pids["a"] != first:
                stop_us()

        still.supervise(lambda pids: None, each_round)
        assert not gone(still.pids["a"])


def test_failed_restart_is_retried(supervisor: Supervisor) -> None:
    calls: list[int] = []

    def fails_once() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise StartError("not now")

    supervisor.start(script("a", "exec sleep 60", prepare=fails_once))
    restarted(supervisor, "a", lambda pid: os.kill(pid, signal.SIGKILL))
    assert len(calls) == 3


def test_children_stop_by_rank(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    ready = tmp_path / "ready"
    text = f"trap 'echo NAME >> {order}; exit 0' TERM; echo >> {ready}; while :; do sleep 0.02; done"
    ranks = {"late": 2, "first": 0, "middle": 1}
    supervisor.start(*(script(name, text.replace("NAME", name), stop_rank=rank) for name, rank in ranks.items()))
    until(lambda: ready.is_file() and len(ready.read_text()) == 3, what="all traps set")
    supervisor.stop()
    assert order.read_text().split() == ["first", "middle", "late"]
    assert supervisor.pids == {}


def test_child_that_does_not_stop_is_killed(supervisor: Supervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    deaf = tmp_path / "deaf"
    text = f"trap '' TERM; echo $$ > {deaf}; while :; do sleep 0.02; done"
    supervisor.start(script("a", text, stop_seconds=0.2))
    pid = written(deaf)
    supervisor.stop()
    assert gone(pid)
    [stopped] = [record for record in caplog.records if record.msg == "stopped"]
    assert stopped.__dict__["reason"] == "signal SIGKILL"


def test_children_end_if_the_supervisor_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "from ops.supervisor import *; s = Supervisor(); "
        f"s.start(Process(name='a', argv=('sh', '-c', 'echo $$ > {pid_file}; exec sleep 300'))); s.supervise()"
    )
    with psutil.Popen([sys.executable, "-c", program]) as supervisor:
        pid = written(pid_file)
        supervisor.kill()
        until(lambda: gone(pid), what="the end of the child")


def test_tail_of_a_log_is_its_last_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text("".join(f"line {number}\n" for number in range(5000)))
    assert tail(file, lines=2) == f"; the end of {file}:\n  line 4998\n  line 4999"


# waits


def _filled(number: int) -> Callable[[Collection[int], float], object]:
    """Return a `sigtimedwait` that returns a structure with this number."""
    structure = SimpleNamespace(si_signo=number)
    return lambda numbers, seconds: structure


@pytest.mark.parametrize(
    ("wait", "is_stop"),
    [
        pytest.param(_filled(signal.SIGTERM), True, id="SIGTERM"),
        pytest.param(_filled(signal.SIGINT), True, id="SIGINT"),
        pytest.param(_filled(signal.SIGHUP), True, id="SIGHUP"),
        pytest.param(_filled(signal.SIGCONT), False, id="SIGCONT"),
        pytest.param(_filled(signal.SIGCHLD), False, id="SIGCHLD"),
        pytest.param(_filled(0), False, id="zero"),
        pytest.param(_filled(278685072), False, id="unfilled"),
        pytest.param(lambda numbers, seconds: None, False, id="None"),
    ],
)
def test_only_a_held_signal_is_a_stop(
    wait: Callable[[Collection[int], float], object], is_stop: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "sigtimedwait", wait)
    assert stop_asked(0.0) is is_stop


def test_wait_for_a_signal_is_never_interrupted_beyond_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a wait returns a structure that is not filled: its number may be that of a signal."""
    timeouts = []
    monkeypatch.setattr(signal, "sigtimedwait", lambda numbers, seconds: timeouts.append(seconds))
    assert not stop_asked(0.1)
    assert set(timeouts) == {0}


def test_pause_of_the_supervisor_is_no_delay_of_a_child(tmp_path: Path) -> None:
    """The clock goes on by an hour while the supervisor waits."""
    now = [0.0]
    mark = tmp_path / "mark"

    def ready() -> bool:
        now[0] += 0.1
        if now[0] < 3600:
            now[0] += 3600.0
            return False
        return mark.exists()

    with Supervisor(clock=lambda: now[0]) as supervisor:
        supervisor.start(script("a", f"touch {mark}; exec sleep 60", ready=ready, ready_seconds=60.0))
        assert set(supervisor.pids) == {"a"}


# reports


def test_report_that_cannot_be_written_is_one_warning_and_is_repeated(caplog: pytest.LogCaptureFixture, supervisor: Supervisor) -> None:
    caplog.set_level("INFO")
    calls: list[dict[str, int]] = []

    def full(pids: dict[str, int]) -> None:
        calls.append(pids)
        if len(calls) < 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        stop_us()

    supervisor.start(script("a", "exec sleep 60"))
    supervisor.supervise(full)
    assert calls == [supervisor.pids] * 3
    lines = [(record.levelname, record.exc_info) for record in caplog.records if "not reported" in record.getMessage()]
    assert lines == [("WARNING", None), ("INFO", None)]


def test_unknown_error_of_the_watch_is_raised(supervisor: Supervisor) -> None:
    def broken(pids: dict[str, int]) -> None:
        raise KeyError("a bug")

    supervisor.start(script("a", "exec sleep 60"))
    with pytest.raises(KeyError):
        supervisor.supervise(broken)
    assert not supervisor.stop_asked
