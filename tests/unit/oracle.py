"""wsproto as the peer of `wire`: WebSocket frames of an independent implementation."""

from __future__ import annotations

from wsproto.frame_protocol import FrameProtocol, Opcode, ParseFailed

__all__ = ["Opcode", "ParseFailed", "as_client", "read_by_client", "read_by_server"]

Whole = tuple[int, bytes]  # opcode of a message or control frame, and its payload


def as_client() -> FrameProtocol:
    """Return the frame protocol of a browser, which masks."""
    return FrameProtocol(client=True, extensions=[])


def read_by_client(data: bytes) -> list[Whole]:
    """Return the messages in a server's bytes, which must end with a message."""
    return _read(FrameProtocol(client=True, extensions=[]), data)


def read_by_server(data: bytes) -> list[Whole]:
    """Return the messages in a client's bytes. Raises `ParseFailed`."""
    return _read(FrameProtocol(client=False, extensions=[]), data)


def _read(protocol: FrameProtocol, data: bytes) -> list[Whole]:
    protocol.receive_bytes(data)
    found: list[Whole] = []
    kind, parts = None, b""
    for frame in protocol.received_frames():
        if frame.opcode.iscontrol():
            found.append((int(frame.opcode), _control(frame.payload)))
            continue
        kind = frame.opcode if kind is None else kind
        assert not isinstance(frame.payload, tuple)
        parts += frame.payload.encode() if isinstance(frame.payload, str) else bytes(frame.payload)
        if frame.frame_finished and frame.message_finished:
            found.append((int(kind), parts))
            kind, parts = None, b""
    assert kind is None, "a message without an end"
    return found


def _control(payload: object) -> bytes:
    """Return the payload of a control frame; wsproto splits that of a Close into (code, reason)."""
    if isinstance(payload, tuple):
        code, reason = payload
        return b"" if code == 1005 else int(code).to_bytes(2) + (reason or "").encode()
    assert isinstance(payload, bytes | bytearray)
    return bytes(payload)
