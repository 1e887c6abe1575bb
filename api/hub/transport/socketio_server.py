"""The Socket.IO server of our own transport, under python-socketio's upper half.

What is replaced, and nothing else (tests/unit/test_hooks.py fails where a new version moves one of these):
`socketio.Server._engineio_server_class`, `_handle_connect`, `_handle_eio_message`: what the protocol says of namespaces that do not exist
or are not joined, and of packets that say what they may not; `_get_event_handler`: an event named `*` is a client's like any other.
"""

from __future__ import annotations

from typing import Any

import socketio

from api.hub.transport.engineio_server import EngineServer

_MOST_ATTACHMENTS = 10
_RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}  # not for clients to say


class SocketServer(socketio.Server):  # type: ignore[misc]
    """python-socketio's server on `EngineServer`, to the letter of the protocol."""

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        if not self._has_namespace(namespace or "/"):
            refusal = self.packet_class(4, data={"message": "Invalid namespace"}, namespace=namespace)
            self._send_packet(eio_sid, refusal)
            return
        super()._handle_connect(eio_sid, namespace, data)
        session = self.eio.sockets.get(eio_sid)
        if session is not None and self.manager.sid_from_eio_sid(eio_sid, namespace or "/") is not None:
            session.joined = True

    def _has_namespace(self, namespace: str) -> bool:
        return namespace in self.handlers or namespace in self.namespace_handlers or namespace in (self.namespaces or ())

    def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        if isinstance(data, bytes) is not (eio_sid in self._binary_packet):
            raise ValueError("an attachment nobody announced, or none where one was")
        if isinstance(data, str):
            packet = self.packet_class(encoded_packet=data)
            _check(packet)
            joined = self.manager.sid_from_eio_sid(eio_sid, packet.namespace or "/") is not None
            if joined is (packet.packet_type == 0):
                raise ValueError("a packet for a namespace that is not joined, or a CONNECT to one that is")
        super()._handle_eio_message(eio_sid, data)

    def _get_event_handler(self, event: str, namespace: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        handler, arguments = super()._get_event_handler(event, namespace, args)
        # `*` is the name under which the handler of all events stands, and that one is told the event's name first.
        return handler, (event, *args) if event == "*" else arguments


def _check(packet: Any) -> None:
    """Raise `ValueError` for what python-socketio would stumble over later."""
    kind, data = packet.packet_type, packet.data
    if kind in (2, 5) and not (isinstance(data, list) and data and isinstance(data[0], str) and data[0] not in _RESERVED):
        raise ValueError("an event without a name of its own")
    if kind in (5, 6) and not 1 <= packet.attachment_count <= _MOST_ATTACHMENTS:
        raise ValueError("a number of attachments that may not be")
    if kind in (3, 6) and not isinstance(data, list):
        raise ValueError("an ack without a list")
    if kind == 0 and data is not None and not isinstance(data, dict):
        raise ValueError("a CONNECT with something else than an object")
    if kind == 1 and data is not None:
        raise ValueError("a DISCONNECT with a payload")
