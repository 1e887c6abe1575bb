"""Down at the operating system: held signals, a child in a session of its own, and what is left of it."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import Signals

log = logging.getLogger(__name__)

_STOP_SIGNALS = (Signals.SIGTERM, Signals.SIGINT, Signals.SIGHUP)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def hold_stop_signals() -> None:
    """From now on SIGTERM, SIGINT and SIGHUP wait until the supervisor asks for them: none of them, and no second Ctrl-C, breaks
    into a start or a stop half done. Under nohup SIGHUP stays ignored."""
    held = [one for one in _STOP_SIGNALS if one is not Signals.SIGHUP or signal.getsignal(one) is not signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, held)


def stop_asked(seconds: float = 0.0) -> bool:
    """Whether a held stop signal is there, or arrives within `seconds`; it is used up."""
    info = signal.sigtimedwait(_STOP_SIGNALS, seconds)
    if info is not None:
        log.info("stopping", extra={"signal": Signals(info.si_signo).name})
    return info is not None


def spawn(
    argv: tuple[str, ...], *, env: Mapping[str, str] | None, log_file: Path | None, inherit: tuple[int, ...], death_signal: Signals
) -> subprocess.Popen[bytes]:
    """Start a child. Its output is appended to `log_file`, or passes through to our stderr. Raises `OSError`."""
    # Its own session: Ctrl-C at the terminal reaches the supervisor alone, which then stops the children in order.
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
    """What the child does between fork and exec: take signals again, and go when we go, even by SIGKILL."""
    supervisor = os.getpid()

    def in_the_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal))
            if os.getppid() != supervisor:  # killed before the line above took hold
                os._exit(1)

    return in_the_child


def kill_group(pid: int) -> None:
    """SIGKILL for whatever is left of the process group of the child `pid`."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def tail(file: Path | None, lines: int = 15) -> str:
    """The end of a child's log, to show under an error; what passed through to stderr stands there already."""
    if file is None or not file.is_file():
        return "; its own words are above"
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 8192))
        text = stream.read().decode(errors="replace")
    return f"; the end of {file}:\n" + "\n".join("  " + line for line in text.splitlines()[-lines:])


def describe_end(code: int) -> str:
    """`exit code 3`, or `signal SIGKILL` for a negative code."""
    return f"exit code {code}" if code >= 0 else f"signal {Signals(-code).name}"
