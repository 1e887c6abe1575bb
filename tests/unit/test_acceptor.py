"""The acceptor: the kinds of errors of `accept`, and the consequence of each."""

from __future__ import annotations

import errno
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from config.process import acceptor as module
from config.process.acceptor import PAUSE_SECONDS, PAUSING_SECONDS, Acceptor, AcceptorFailed, ErrorKind, kind_of

PASSING = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]
OF_THIS_CONNECTION = [errno.ECONNABORTED, errno.EPROTO, errno.EINTR, errno.EAGAIN]
KINDS = {
    **dict.fromkeys(PASSING, ErrorKind.PASSING),
    **dict.fromkeys(OF_THIS_CONNECTION, ErrorKind.OF_THIS_ITEM),
}
STEP = 0.125  # seconds, an exact number above the pause


class _Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class _Peer:
    """An accepted socket with a given descriptor."""

    def __init__(self, number: int = 10) -> None:
        self.number = number
        self.closed = False

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.closed = True


def failing(code: int, then: _Peer | None = None) -> Callable[[], Any]:
    """Return an `accept` that fails, or that fails once if there is a peer for the next call."""
    calls = itertools.count()

    def accept() -> Any:
        if next(calls) and then is not None:
            return then, None
        raise OSError(code, os.strerror(code))

    return accept


def test_kind_of_each_error() -> None:
    for code, name in errno.errorcode.items():
        assert kind_of(OSError(code, "")) is KINDS.get(code, ErrorKind.UNKNOWN), name


@pytest.mark.parametrize("code", OF_THIS_CONNECTION, ids=lambda code: errno.errorcode[code])
def test_error_of_a_connection_is_skipped_at_once(code: int, caplog: pytest.LogCaptureFixture) -> None:
    acceptor = Acceptor(_Clock())
    assert acceptor.accept(failing(code)) is None
    assert (acceptor.pausing, acceptor.pause_left, caplog.records) == (False, 0.0, [])


@pytest.mark.parametrize("code", PASSING, ids=lambda code: errno.errorcode[code])
def test_passing_error_closes_one_connection_and_pauses(code: int, caplog: pytest.LogCaptureFixture) -> None:
    clock = _Clock()
    acceptor = Acceptor(clock)
    waiting = [_Peer() for _ in range(800)]
    for number, peer in enumerate(waiting):
        assert acceptor.accept(failing(code, then=peer)) is None
        assert peer.closed
        assert acceptor.pausing
        assert acceptor.pause_left == pytest.approx(PAUSE_SECONDS)
        clock.now += STEP
        assert acceptor.pause_left == 0.0
        assert len(caplog.records) == 1 + int(number * STEP) // 60, "more than one line a minute"
    first = vars(caplog.records[0])
    assert (first["levelname"], first["reason"], first["exc_info"]) == ("WARNING", os.strerror(code), None)
    assert 0 < first["descriptors"] <= first["limit"]
    clock.now += PAUSING_SECONDS
    assert not acceptor.pausing


@pytest.mark.parametrize("code", [errno.EBADF, errno.EINVAL, errno.ECONNRESET, errno.EPIPE], ids=lambda code: errno.errorcode[code])
def test_unknown_error_is_raised_as_no_error_of_a_socket(code: int) -> None:
    with pytest.raises(AcceptorFailed) as raised:
        Acceptor(_Clock()).accept(failing(code))
    assert not isinstance(raised.value, OSError)  # `eventlet.wsgi.server` returns at some of these


@pytest.mark.parametrize(("number", "taken"), [(94, True), (95, False), (99, False)])
def test_reserved_descriptors_are_not_given_to_clients(number: int, taken: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "soft_limit", lambda: 100)
    acceptor, peer = Acceptor(_Clock()), _Peer(number)
    assert (acceptor.accept(lambda: (peer, "address")) is not None, peer.closed) == (taken, not taken)
    assert acceptor.pausing is not taken


def test_real_connection_is_accepted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        connection = Acceptor().accept(listener.accept)
        assert connection is not None
        assert connection[1] == client.getsockname()
        connection[0].close()
