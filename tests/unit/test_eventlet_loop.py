"""The loop of the transport in separate processes: its clock and the failure of its clock."""

from __future__ import annotations

import subprocess
import sys

from tests.support.processes import ROOT

SCRIPT = """
import logging

import eventlet

from api.hub.transport.eventlet_loop import Eventlet

logging.basicConfig()
ticks = []


def tick():
    ticks.append(1)
    print("tick", flush=True)
    {body}


{call}
for _ in range(500):
    eventlet.sleep(0.01)
    if len(ticks) > 3:
        break
print("end")
"""


def run(body: str, call: str) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(body=body, call=call)
    return subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_clock_repeats_its_call() -> None:
    done = run("pass", "Eventlet().every(0.01, tick)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("tick") >= 4


def test_clock_that_raises_ends_its_process_with_a_traceback() -> None:
    done = run('raise KeyError("a fault")', "Eventlet().every(0.01, tick)")
    assert done.returncode == 70
    assert done.stdout == "tick\n"
    assert "a long-lived loop ended" in done.stderr
    assert "Traceback" in done.stderr
    assert "KeyError: 'a fault'" in done.stderr


def test_deferred_call_that_raises_is_logged_and_the_process_continues() -> None:
    done = run('raise KeyError("a fault")', "for _ in range(4):\n    Eventlet().call_later(0.01, tick)")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "end")
    assert done.stderr.count("Traceback") == 4


WATCHED = """
import socket

import eventlet

from api.hub.transport.eventlet_loop import Eventlet

loop = Eventlet()
ours, theirs = socket.socketpair()
also_ours, also_theirs = socket.socketpair()
for sock in (ours, also_ours):
    sock.setblocking(False)
events = []


def readable(name, sock, other):
    events.append((name, sock.recv(100)))
    listeners[other].stop()  # its event of the same turn has no effect


listeners = {}
listeners["one"] = loop.watch_reading(ours, lambda: readable("one", ours, "two"))
listeners["two"] = loop.watch_reading(also_ours, lambda: readable("two", also_ours, "one"))
theirs.send(b"first")
also_theirs.send(b"first")
eventlet.sleep(0.05)
print(len(events), flush=True)
[(name, data)] = events
listeners[name].stop()
listeners[name].stop()
theirs.send(b"second")
also_theirs.send(b"second")
eventlet.sleep(0.05)
print(len(events), ours.fileno() >= 0 and also_ours.fileno() >= 0, flush=True)


def fail():
    eventlet.sleep(0)
    raise KeyError("a fault")


loop.spawn(fail)
eventlet.sleep(0.05)
print("end")
"""


def test_stopped_listener_is_not_called_again_and_a_spawned_fault_is_logged() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WATCHED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["1", "1 True", "end"], done.stderr
    assert done.stderr.count("Traceback") == 1


BLOCKED = """
import logging
import warnings

warnings.simplefilter("ignore")
import eventlet
import eventlet.patcher

eventlet.monkey_patch()
from config.loops import HEARTBEATS
from config.process.watchdog import OsThreads, Watchdog

logging.basicConfig(format="%(levelname)s %(message)s %(loop)s")
HEARTBEATS.expect("relay", 0.1)
threads = OsThreads(eventlet.patcher.original("threading").Thread, eventlet.patcher.original("time").sleep)
Watchdog(threads, patience=0.5).start()
logging.getLogger().handlers[0].acquire()
while True:  # no greenlet has its turn any more
    pass
"""


def test_watchdog_ends_a_process_whose_loop_is_blocked() -> None:
    done = subprocess.run([sys.executable, "-c", BLOCKED], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 70
    assert done.stderr.splitlines() == ["ERROR a loop is silent: the process ends relay"]
