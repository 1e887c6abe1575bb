"""Child processes on the level of the operating system: signals, sessions, groups, logs."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import Signals

from config.logs.rotation import rotate

log = logging.getLogger(__name__)

_STOP_SIGNALS = (Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP)
_STEP_SECONDS = 0.05  # between two looks for a stop signal
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def hold_stop_signals() -> None:
    """Block SIGTERM, SIGINT and SIGHUP until `stop_asked` takes them.

    None of them interrupts a start or a stop. Under nohup SIGHUP stays ignored.
    """
    held = [one for one in _STOP_SIGNALS if one is not Signals.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, held)


def stop_asked(seconds: float = 0.0) -> bool:
    """Take a held stop signal that is pending or arrives within `seconds`.

    Return True if there was one. Nothing else is an order: neither a stop and continue, nor a
    deadline that has passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        # Without a timeout: if a longer `sigtimedwait` is interrupted beyond its deadline, Python
        # returns a structure that nobody has filled, with any number in it.
        info = signal.sigtimedwait(_STOP_SIGNALS, 0)
        if info is not None and info.si_signo in _STOP_SIGNALS:
            log.info("stopping", extra={"signal": Signals(info.si_signo).name})
            return True
        if (left := deadline - time.monotonic()) <= 0:
            return False
        time.sleep(min(_STEP_SECONDS, left))


def spawn(
    argv: tuple[str, ...], *, env: Mapping[str, str] | None, log_file: Path | None, inherit: tuple[int, ...], death_signal: Signals
) -> subprocess.Popen[bytes]:
    """Start a child.

    Its output is appended to `log_file`, which is rotated first if it is too large, or goes to our
    stderr. Raises `OSError`.
    """
    if log_file:
        with contextlib.suppress(OSError):  # the supervisor tries again, and logs it
            rotate(log_file)
    # In its own session Ctrl-C at the terminal does not reach the child: the supervisor stops all
    # children in order.
    output = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if log_file else None
    try:
        return subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output or sys.__stderr__,
            stderr=output or sys.__stderr__,
            start_new_session=True,
            pass_fds=inherit,
            preexec_fn=_tie_to_us(death_signal),
        )
    finally:
        if output is not None:
            os.close(output)


def _tie_to_us(death_signal: Signals) -> Callable[[], None]:
    """Return the code that the child runs between fork and exec.

    It unblocks signals, and lets the child end if the supervisor ends, even by SIGKILL.
    """
    supervisor = os.getpid()

    def in_the_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != supervisor:  # the supervisor was killed before the call above
                os._exit(1)

    return in_the_child


def kill_group(pid: int) -> None:
    """Send SIGKILL to the rest of the process group of the child `pid`."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def tail(file: Path | None, lines: int = 15) -> str:
    """Return the end of a child's log for an error text.

    Without a log, its output is on stderr already.
    """
    if file is None or not file.is_file():
        return "; its output is above"
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 8192))
        text = stream.read().decode(errors="replace")
    return f"; the end of {file}:\n" + "\n".join("  " + line for line in text.splitlines()[-lines:])


def describe_end(code: int) -> str:
    """Return `exit code 3`, or `signal SIGKILL` for a negative code."""
    return f"exit code {code}" if code >= 0 else f"signal {Signals(-code).name}"
