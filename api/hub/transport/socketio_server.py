"""The Socket.IO server of the transport, below the upper half of python-socketio.

Replaced methods (tests/unit/test_hooks.py fails if a new version changes one of them):

- `_engineio_server_class`: sessions belong to `EngineServer`;
- `_handle_eio_message`: one decoding and one check per packet, before any handler of ours runs;
- `_handle_connect`: an unknown namespace is refused as the protocol requires;
- `_handle_disconnect`, `_handle_eio_disconnect`: a handler that raises leaves no half-open client;
- `_handle_event_internal`: the ack of a handler that answers `Later`;
- `_get_event_handler`: an event with the name `*` is an ordinary event of a client.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import orjson
import socketio

from api.errors import ErrorCode, error_body
from api.hub.transport import wire
from api.hub.transport.client_json import Unusable
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.host import Later
from api.hub.transport.limits.bucket import MAX_CONNECTS
from api.hub.transport.limits.totals import LIMIT
from api.hub.transport.session import Session
from api.hub.transport.wire import WireError
from config.logs.client import client_fields

log = logging.getLogger(__name__)

_MAX_ATTACHMENTS = 10
# Names of events that only the library emits.
_RESERVED = {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
_CONNECT, _DISCONNECT, _EVENT, _ACK, _CONNECT_ERROR, _BINARY_EVENT, _BINARY_ACK = range(7)
_PLAIN_CONNECT, _PLAIN_EVENT = "0", "2["  # text of a packet, the second one its beginning
# Exceptions of the decoder for malformed packets: JSON, numbers, and placeholders of attachments.
_MALFORMED = (ValueError, TypeError, LookupError, RecursionError)


class ClientManager(socketio.Manager):  # type: ignore[misc]
    """The clients of each namespace, in two dicts: the fan-out has the rooms.

    python-socketio's manager keeps two bidirectional maps for each client, and the end of a client
    visits those of all others.

    It calls `on_connected(sid, namespace)` right after the CONNECT packet was sent. Clients drop
    events that arrive before that packet. `on_connected` is set before the first client connects.
    """

    def __init__(self, on_connected: Callable[[str, str], None] = lambda sid, namespace: None) -> None:
        super().__init__()
        self.on_connected = on_connected
        self.rooms: dict[str, dict[str, str]] = {}  # namespace -> client -> session; without empty namespaces
        self._clients: dict[str, dict[str, str]] = {}  # namespace -> session -> client
        self._changing: set[str] = set()  # clients that connect or disconnect now

    def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        """Return the id of a new client; None if the session has one in the namespace."""
        clients = self._clients.setdefault(namespace, {})
        if eio_sid in clients:
            return None
        sid: str = self.server.eio.generate_id()
        clients[eio_sid] = sid
        self.rooms.setdefault(namespace, {})[sid] = eio_sid
        self._changing.add(sid)
        return sid

    def connect(self, sid: str, namespace: str) -> str:
        """Register the client. python-socketio calls this after it has sent the CONNECT packet."""
        self._changing.discard(sid)
        self.on_connected(sid, namespace)
        return sid

    def is_connected(self, sid: str, namespace: str) -> bool:
        return sid in self.rooms.get(namespace, ()) and sid not in self._changing

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        return self._clients.get(namespace, {}).get(eio_sid)

    def eio_sid_from_sid(self, sid: str | None, namespace: str) -> str | None:
        return None if sid is None else self.rooms.get(namespace, {}).get(sid)

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Mark a client that is about to end, and return its session."""
        self._changing.add(sid)
        return self.eio_sid_from_sid(sid, namespace)

    def disconnect(self, sid: str | None, namespace: str, **_: Any) -> None:
        """Forget a client; it may be unknown."""
        if sid is None:
            return
        sessions = self.rooms.get(namespace, {})
        eio_sid = sessions.pop(sid, None)
        if eio_sid is not None:
            del self._clients[namespace][eio_sid]
        if not sessions:
            self.rooms.pop(namespace, None)
        self._changing.discard(sid)
        self.callbacks.pop(sid, None)

    def get_namespaces(self) -> Collection[str]:
        return self.rooms.keys()

    def get_participants(self, namespace: str, room: str | None) -> Iterator[tuple[str, str]]:
        """Yield (client, session) of one client, or of all with None."""
        sessions = self.rooms.get(namespace, {})
        yield from list(sessions.items()) if room is None else [(room, sessions[room])] if room in sessions else []


class SocketServer(socketio.Server):  # type: ignore[misc]
    """python-socketio's server on `EngineServer`.

    Options that it does not know go to `EngineServer`.
    """

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def session_of(self, sid: str, namespace: str) -> Session:
        """Return the session of a client of the namespace. Raises `KeyError` if it has ended."""
        session: Session = self.eio.sockets[self.manager.eio_sid_from_sid(sid, namespace)]
        return session

    def expel(self, sid: str, namespace: str, error: bytes) -> None:
        """End the session of a client whose rights have ended; `error` is the body of its event."""
        session = self.eio.sockets.get(self.manager.eio_sid_from_sid(sid, namespace))
        if session is not None:
            prefix = b"" if namespace == "/" else namespace.encode() + b","
            disconnect = wire.text(wire.MESSAGE + b"%d" % _DISCONNECT + prefix)
            self.eio.expel(session, [wire.event("error", error, namespace=namespace)], [disconnect])

    def accept(self, sid: str, namespace: str, auth: Mapping[str, Any]) -> None:
        """Record the new credential of a client's session."""
        self.session_of(sid, namespace).accept(auth)

    def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        packet = self._decode(eio_sid, data)
        if packet is None:
            return
        kind, namespace = packet.packet_type, packet.namespace
        if kind == _CONNECT:
            self._handle_connect(eio_sid, namespace, packet.data)
        elif self.manager.sid_from_eio_sid(eio_sid, namespace or "/") is None:
            return  # sent before the client received the refusal of its CONNECT
        elif kind == _DISCONNECT:
            self._handle_disconnect(eio_sid, namespace, self.reason.CLIENT_DISCONNECT)
        elif kind in (_EVENT, _BINARY_EVENT):
            self._handle_event(eio_sid, namespace, packet.id, packet.data)
        else:
            self._handle_ack(eio_sid, namespace, packet.id, packet.data)

    def _decode(self, eio_sid: str, data: str | bytes) -> Any:
        """Return the checked packet that `data` completes; None if attachments are missing.

        Raises `WireError`.
        """
        incomplete = self._binary_packet.get(eio_sid)
        if isinstance(data, bytes) is (incomplete is None):
            raise WireError(1002, "an attachment without its packet, or a packet before all attachments of another")
        try:
            if incomplete is None:
                packet = self._read(data)
                _check(packet)
            elif incomplete.add_attachment(data):
                return self._binary_packet.pop(eio_sid)
            else:
                return None
        except _MALFORMED as error:
            raise WireError(1002, f"malformed packet: {type(error).__name__}: {error}") from None
        joined = self.manager.sid_from_eio_sid(eio_sid, packet.namespace or "/") is not None
        if joined is (packet.packet_type == _CONNECT) and (joined or not self.eio.sockets[eio_sid].connects.refused):
            raise WireError(1002, "a packet for a namespace that is not joined, or CONNECT to a joined one")
        if packet.packet_type in (_BINARY_EVENT, _BINARY_ACK):
            self._binary_packet[eio_sid] = packet
            return None
        return packet

    def _read(self, data: Any) -> Any:
        """Return a text packet. The usual ones have no namespace and no id."""
        if data == _PLAIN_CONNECT:
            return self.packet_class(_CONNECT)
        if data.startswith(_PLAIN_EVENT):
            packet = self.packet_class(_EVENT)
            packet.data = self.packet_class.json.loads(data[1:])
            return packet
        return self.packet_class(encoded_packet=data)

    def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        name = namespace or "/"
        if (refusal := self._refusal(eio_sid, name)) is not None:
            self._send_packet(eio_sid, self.packet_class(_CONNECT_ERROR, data=refusal, namespace=namespace))
            return
        outbox = self.eio.sockets[eio_sid].outbox
        outbox.hold()  # the CONNECT packet and the first event leave in one write
        try:
            super()._handle_connect(eio_sid, namespace, data)
        except Exception:
            sid = self.manager.sid_from_eio_sid(eio_sid, name)
            if not self.manager.is_connected(sid, name):
                self.manager.disconnect(sid, name, ignore_queue=True)  # python-socketio would keep it as half connected
            raise
        finally:
            outbox.release()
        session = self.eio.sockets.get(eio_sid)
        if session is not None and self.manager.sid_from_eio_sid(eio_sid, name) is not None:
            session.note_joined(name)

    def _refusal(self, eio_sid: str, namespace: str) -> dict[str, Any] | None:
        """Return the data of the CONNECT_ERROR of a CONNECT that no handler decides, or None."""
        session: Session = self.eio.sockets[eio_sid]
        session.connects.refused = not session.connects.take() or not session.bucket.paid
        if session.connects.refused:
            session.refused = LIMIT
            message = f"More than {MAX_CONNECTS} CONNECT packets in a minute, or too many packets."
            details = {"retry_after": max(session.connects.retry_after(), session.bucket.retry_after())}
            body = error_body(ErrorCode.TOO_MANY_REQUESTS, message, "connect", details)
            return {"message": body["code"], "data": body}
        return None if self._has_namespace(namespace) else {"message": "Invalid namespace"}

    def _has_namespace(self, namespace: str) -> bool:
        return namespace in self.handlers or namespace in self.namespace_handlers or namespace in (self.namespaces or ())

    def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        name = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, name)
        try:
            super()._handle_disconnect(eio_sid, namespace, reason)
        except Exception:
            self.manager.disconnect(sid, name, ignore_queue=True)
            raise
        finally:
            self._note_left(eio_sid)

    def _note_left(self, eio_sid: str) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is not None and not any(self.manager.sid_from_eio_sid(eio_sid, each) for each in self.manager.get_namespaces()):
            self.eio.note_left(session)

    def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
        for namespace in list(self.manager.get_namespaces()):
            try:
                self._handle_disconnect(eio_sid, namespace, reason)
            except Exception:
                fields = {**client_fields(eio_sid, "disconnect"), "namespace": namespace}
                log.exception("failed to handle the disconnect of a client", extra=fields)
        self.environ.pop(eio_sid, None)

    def _handle_event_internal(self, server: Any, sid: str, eio_sid: str, data: list[Any], namespace: str, id: int | None) -> None:  # noqa: A002
        answer = self._trigger_event(data[0], namespace, sid, *data[1:])
        if id is None or answer == self.not_handled:
            return
        acknowledge = partial(self._acknowledge, sid, eio_sid, namespace, id)
        if isinstance(answer, Later):
            answer.acknowledge = acknowledge
        else:
            acknowledge(answer)

    def _acknowledge(self, sid: str, eio_sid: str, namespace: str, number: int, body: Any) -> None:
        """Send an ack, unless the client has left the namespace."""
        if self.manager.sid_from_eio_sid(eio_sid, namespace) == sid:
            data = list(body) if isinstance(body, tuple) else [orjson.Fragment(body) if isinstance(body, bytes) else body]
            self._send_packet(eio_sid, self.packet_class(_ACK, namespace=namespace, id=number, data=data))

    def _get_event_handler(self, event: str, namespace: str, args: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        handler, arguments = super()._get_event_handler(event, namespace, args)
        # The handler of all events is registered under `*` and takes the name of the event first.
        return handler, (event, *args) if event == "*" else arguments


def _check(packet: Any) -> None:
    """Raise `WireError` for a decoded packet that the protocol forbids."""
    kind, data = packet.packet_type, packet.data
    if kind == _CONNECT_ERROR or kind > _BINARY_ACK:
        raise WireError(1002, "a packet of a type that clients must not send")
    if kind in (_EVENT, _BINARY_EVENT) and not (isinstance(data, list) and data and isinstance(data[0], str) and data[0] not in _RESERVED):
        raise WireError(1002, "an event without a name, or with a reserved one")
    if kind in (_BINARY_EVENT, _BINARY_ACK) and not 1 <= packet.attachment_count <= _MAX_ATTACHMENTS:
        raise WireError(1002, "a forbidden number of attachments")
    if kind in (_ACK, _BINARY_ACK) and not isinstance(data, list):
        raise WireError(1002, "an ack without a list")
    if kind == _CONNECT and data is not None and not isinstance(data, dict | Unusable):
        raise WireError(1002, "a CONNECT with a payload that is not an object")
    if kind == _DISCONNECT and data is not None:
        raise WireError(1002, "a DISCONNECT with a payload")
