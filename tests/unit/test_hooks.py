"""The internals of our libraries that the transport replaces or calls.

A new version of python-engineio, python-socketio, Flask-SocketIO or eventlet that changes one of
them fails here, by its name. `engineio_server.py`, `socketio_server.py` and `eventlet_loop.py` of
`api/hub/transport/` give the reason of each.
"""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Callable
from typing import Any

import engineio
import eventlet
import eventlet.event
import eventlet.greenio
import eventlet.wsgi
import flask_socketio
import pytest
import socketio
from eventlet import hubs
from eventlet.hubs.hub import READ, WRITE, BaseHub
from eventlet.patcher import original
from flask import Flask

from api.hub.transport.client_json import Json
from api.hub.transport.engineio_server import EngineServer
from api.hub.transport.eventlet_loop import Eventlet, HubSocketIO, Protocol, detach, wait_for_poll
from api.hub.transport.host import Limits
from api.hub.transport.outbox import gap_notice
from api.hub.transport.session import Session
from api.hub.transport.socketio_server import ClientManager, SocketServer


def parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def source(thing: Any) -> str:
    """Return the source on one line with single blanks, because line breaks may change."""
    return " ".join(inspect.getsource(thing).split())


SIGNATURES: list[tuple[Callable[..., Any], list[str]]] = [
    (engineio.Server.handle_request, ["self", "environ", "start_response"]),
    (engineio.Server.send, ["self", "sid", "data"]),
    (engineio.Server.send_packet, ["self", "sid", "pkt"]),
    (engineio.Server.disconnect, ["self", "sid"]),
    (engineio.Server.transport, ["self", "sid"]),
    (engineio.Server.generate_id, ["self"]),
    (socketio.Server._engineio_server_class, ["self"]),
    (socketio.Server._handle_connect, ["self", "eio_sid", "namespace", "data"]),
    (socketio.Server._get_event_handler, ["self", "event", "namespace", "args"]),
    (socketio.Server._handle_eio_connect, ["self", "eio_sid", "environ"]),
    (socketio.Server._handle_eio_message, ["self", "eio_sid", "data"]),
    (socketio.Server._handle_eio_disconnect, ["self", "eio_sid", "reason"]),
    (socketio.Server._send_packet, ["self", "eio_sid", "pkt"]),
    (socketio.Manager.pre_connect, ["self", "eio_sid", "namespace"]),
    (socketio.Manager.connect, ["self", "sid", "namespace"]),
    (socketio.Manager.pre_disconnect, ["self", "sid", "namespace"]),
    (socketio.Manager.get_namespaces, ["self"]),
    (socketio.Manager.get_participants, ["self", "namespace", "room"]),
    (socketio.Manager.sid_from_eio_sid, ["self", "eio_sid", "namespace"]),
    (socketio.Manager.eio_sid_from_sid, ["self", "sid", "namespace"]),
    (flask_socketio.SocketIO._handle_event, ["self", "handler", "message", "namespace", "sid", "args"]),
    (flask_socketio._SocketIOMiddleware.__init__, ["self", "socketio_app", "flask_app", "socketio_path"]),
    (flask_socketio.SocketIO.init_app, ["self", "app", "kwargs"]),
    (eventlet.wsgi.HttpProtocol.__init__, ["self", "conn_state", "server"]),
    (eventlet.wsgi.HttpProtocol.get_environ, ["self"]),
    (eventlet.wsgi.HttpProtocol.finish, ["self"]),
    (eventlet.wsgi.Input.get_socket, ["self"]),
    (BaseHub.add, ["self", "evtype", "fileno", "cb", "tb", "mark_as_closed"]),
    (BaseHub.remove, ["self", "listener"]),
    (BaseHub.schedule_call_global, ["self", "seconds", "cb", "args", "kw"]),
    (socketio.Server._handle_disconnect, ["self", "eio_sid", "namespace", "reason"]),
    (socketio.Server._handle_event, ["self", "eio_sid", "namespace", "id", "data"]),
    (socketio.Server._handle_event_internal, ["self", "server", "sid", "eio_sid", "data", "namespace", "id"]),
    (socketio.Server._handle_ack, ["self", "eio_sid", "namespace", "id", "data"]),
    (socketio.Manager.is_connected, ["self", "sid", "namespace"]),
    (socketio.Manager.disconnect, ["self", "sid", "namespace", "kwargs"]),
    (socketio.packet.Packet.add_attachment, ["self", "attachment"]),
    (hubs.trampoline, ["fd", "read", "write", "timeout", "timeout_exc", "mark_as_closed"]),
]


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=[function.__qualname__ for function, _ in SIGNATURES])
def test_function_has_the_expected_signature(function: Callable[..., Any], expected: list[str]) -> None:
    assert parameters(function) == expected


# Patterns of their source: the calls to the parts that we replace, and their order.
FACTS: list[tuple[Any, str]] = [
    # `manager.connect` is called right after the CONNECT packet was sent: our greeting goes out
    # there.
    (
        socketio.Server._handle_connect,
        r"elif not self\.always_connect: self\._send_packet\(eio_sid, self\.packet_class\( packet\.CONNECT, \{'sid': sid\}, "
        r"namespace=namespace\)\) self\.manager\.connect\(sid, namespace\)$",
    ),
    (socketio.Server._handle_connect, r"sid = self\.manager\.pre_connect\(eio_sid, namespace\)"),
    (socketio.Server._handle_connect, r"self\._trigger_event\( ?'connect', namespace, sid, self\.environ\[eio_sid\], data\)"),
    (socketio.Server._handle_connect, r"except exceptions\.ConnectionRefusedError as exc: fail_reason = exc\.error_args"),
    # `SocketServer._handle_event_internal` does the same, now or later.
    (socketio.Server._handle_event_internal, r"r = server\._trigger_event\(data\[0\], namespace, sid, \*data\[1:\]\)"),
    (
        socketio.Server._handle_event_internal,
        r"if r != self\.not_handled and id is not None: .*server\._send_packet\(eio_sid, self\.packet_class\( "
        r"packet\.ACK, namespace=namespace, id=id, data=data\)\)$",
    ),
    # Every packet passes `eio.send`.
    (socketio.Server._send_packet, r"pkt\.encode\(\).*self\.eio\.send\(eio_sid, ep\).*self\.eio\.send\(eio_sid, encoded_packet\)"),
    (socketio.Server._send_eio_packet, r"self\.eio\.send_packet\(eio_sid, eio_pkt\)"),
    # python-socketio reads `rooms` in these methods alone, apart from those of rooms: unused.
    (socketio.Manager.emit, r"if namespace not in self\.rooms: return .*for sid, eio_sid in self\.get_participants\(namespace, room\)"),
    (socketio.Manager.can_disconnect, r"return self\.is_connected\(sid, namespace\)$"),
    (socketio.Manager.emit, r"eio_packet\.Packet\(.*self\.server\._send_eio_packet\(eio_sid, p\)"),
    # A binary packet waits for its attachments under its Engine.IO id, until the session ends.
    (socketio.Server._handle_eio_message, r"if eio_sid in self\._binary_packet: pkt = self\._binary_packet\[eio_sid\]"),
    (socketio.Server._handle_eio_message, r"self\._binary_packet\[eio_sid\] = pkt"),
    (socketio.Server._handle_disconnect, r"if eio_sid in self\._binary_packet: del self\._binary_packet\[eio_sid\]"),
    (socketio.Server._handle_eio_connect, r"self\.environ\[eio_sid\] = environ"),
    (socketio.Server._handle_eio_disconnect, r"self\._handle_disconnect\(eio_sid, n, reason\).*del self\.environ\[eio_sid\]"),
    (socketio.Server.disconnect, r"self\.manager\.disconnect\("),
    (socketio.base_server.BaseServer.__init__, r"self\.eio = self\._engineio_server_class\(\)\(\*\*engineio_options\)"),
    (socketio.base_server.BaseServer.__init__, r"self\.eio\.on\('connect', self\._handle_eio_connect\)"),
    (socketio.base_server.BaseServer.__init__, r"self\.eio\.on\('message', self\._handle_eio_message\)"),
    (socketio.base_server.BaseServer.__init__, r"self\.eio\.on\('disconnect', self\._handle_eio_disconnect\)"),
    (socketio.Server._get_event_handler, r"handler = self\.handlers\[namespace\]\['\*'\] args = \(event, \*args\)"),
    (socketio.Server._trigger_event, r"handler, args = self\._get_event_handler\(event, namespace, args\)"),
    (socketio.Server._handle_event_internal, r"server\._send_packet\(eio_sid, self\.packet_class\( packet\.ACK"),
    (socketio.Server.handle_request, r"return self\.eio\.handle_request\(environ, start_response\)"),
    # The replaced half of Engine.IO: no other part of it uses the sockets.
    (engineio.Server._handle_connect, r"self\.start_service_task"),
    (engineio.base_server.BaseServer.__init__, r"self\.sockets = \{\} self\.handlers = \{\}"),
    (engineio.base_server.BaseServer.on, r"self\.handlers\[event\] = handler"),
    # Flask-SocketIO: registered handlers reach `_handle_event` with the client's id; the middleware
    # wraps the app.
    (flask_socketio.SocketIO.on, r"return self\._handle_event\(handler, message, real_ns, sid, \*args\)"),
    (flask_socketio.SocketIO.init_app, r"self\.sockio_mw = _SocketIOMiddleware\(self\.server, app, socketio_path=resource\)"),
    (flask_socketio.SocketIO.init_app, r"self\.server = socketio\.Server\(\*\*self\.server_options\) self\.async_mode"),
    # eventlet's HTTP server: it neither answers on a detached socket, nor closes it, nor shuts it
    # down.
    (eventlet.wsgi.HttpProtocol.__init__, r"self\.request = conn_state\[1\].*self\.conn_state = conn_state.*finally: self\.finish\(\)"),
    (eventlet.wsgi.HttpProtocol.handle, r"if self\.close_connection: break$"),
    (eventlet.wsgi.HttpProtocol.setup, r"conn = self\.connection = self\.request"),
    (eventlet.wsgi.HttpProtocol.get_environ, r"env\['wsgi\.input'\] = env\['eventlet\.input'\] = Input\("),
    (eventlet.wsgi.HttpProtocol.finish, r"greenio\.shutdown_safe\(self\.connection\) self\.connection\.close\(\)$"),
    (eventlet.wsgi.HttpProtocol.handle_one_response, r"WSGI_LOCAL\.already_handled = False .*self\.application\(self\.environ"),
    (eventlet.wsgi.HttpProtocol.handle_one_response, r"if WSGI_LOCAL\.already_handled: self\.close_connection = 1 return"),
    (eventlet.wsgi.server, r"if custom_pool is not None: pool = custom_pool"),
    (eventlet.wsgi.server, r"pool\.spawn\(serv\.process_request, connection\)"),
]


@pytest.mark.parametrize(("thing", "pattern"), FACTS, ids=[f"{number}-{thing.__qualname__}" for number, (thing, _) in enumerate(FACTS)])
def test_source_matches_the_pattern(thing: Any, pattern: str) -> None:
    assert re.search(pattern, source(thing)), f"{thing.__qualname__} no longer matches {pattern}: {source(thing)[:3000]}"


def test_overridden_method_exists_in_the_base_class() -> None:
    """A method that its base class has lost would never be called."""
    mine = {
        EngineServer: {"handle_request", "send", "send_packet", "disconnect", "transport"},
        SocketServer: {
            "_engineio_server_class",
            "_handle_connect",
            "_handle_disconnect",
            "_handle_eio_disconnect",
            "_handle_eio_message",
            "_get_event_handler",
        },
        ClientManager: {
            "pre_connect",
            "connect",
            "is_connected",
            "sid_from_eio_sid",
            "eio_sid_from_sid",
            "pre_disconnect",
            "disconnect",
            "get_namespaces",
            "get_participants",
        },
        HubSocketIO: {"init_app", "_handle_event"},
        Protocol: {"get_environ", "finish"},
    }
    for ours, methods in mine.items():
        for method in methods:
            assert method in vars(ours), f"{ours.__name__}.{method} is not ours any more: correct this test"
            assert any(method in vars(base) for base in ours.__mro__[1:]), f"no base class calls {ours.__name__}.{method} any more"


LIMITS = Limits(ping_interval=25, ping_timeout=20)


def socket_server(**options: Any) -> SocketServer:
    engine = {"loop": Eventlet(), "now": time.monotonic, "wait_for_poll": wait_for_poll, "detach": detach, "limits": LIMITS}
    return SocketServer(async_mode="threading", client_manager=ClientManager(lambda sid, namespace: None), **engine, **options)


def test_used_attribute_exists() -> None:
    server = socket_server()
    assert type(server.eio) is EngineServer
    assert set(server.eio.handlers) == {"connect", "message", "disconnect"}
    for attribute in ("ping_interval", "ping_timeout", "max_http_buffer_size", "allow_upgrades", "reason"):
        assert hasattr(server.eio, attribute), attribute
    for attribute in ("handlers", "namespace_handlers", "namespaces", "packet_class", "manager", "environ", "_binary_packet"):
        assert hasattr(server, attribute), attribute
    assert (server._binary_packet, server.environ) == ({}, {})
    reasons = [server.eio.reason.PING_TIMEOUT, server.eio.reason.TRANSPORT_CLOSE, server.eio.reason.TRANSPORT_ERROR]
    assert [*reasons, server.eio.reason.SERVER_DISCONNECT] == ["ping timeout", "transport close", "transport error", "server disconnect"]


def test_inherited_method_uses_no_engineio_session() -> None:
    """Methods inherited from `engineio.Server` do not use its `Socket` or its service task."""
    ours = set(vars(EngineServer))
    ours |= {"get_session", "save_session", "session", "shutdown", "_handle_connect", "_service_task", "_get_socket", "_upgrades"}  # unused
    touching = {
        name
        for base in (engineio.Server, engineio.base_server.BaseServer)
        for name, method in vars(base).items()
        if inspect.isfunction(method) and name != "__init__" and re.search(r"self\.sockets|_get_socket|\bSocket\b", source(method))
    }
    assert touching <= ours, touching - ours
    for method in (socketio.Server, socketio.base_server.BaseServer):
        assert not re.search(r"eio\.(sockets|_get_socket|_service_task)", source(method))


def test_packet_is_parsed_into_the_checked_fields() -> None:
    assert [socketio.packet.CONNECT, socketio.packet.DISCONNECT, socketio.packet.EVENT, socketio.packet.ACK] == [0, 1, 2, 3]
    assert [socketio.packet.CONNECT_ERROR, socketio.packet.BINARY_EVENT, socketio.packet.BINARY_ACK] == [4, 5, 6]
    class_ = socket_server(json=Json).packet_class
    packet = class_(encoded_packet='52-/custom,7["name",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    assert (packet.packet_type, packet.namespace, packet.id, packet.attachment_count) == (5, "/custom", 7, 2)
    assert packet.data[0] == "name"
    assert not packet.add_attachment(b"a")
    assert packet.add_attachment(b"b")
    assert packet.data == ["name", b"a", b"b"]
    assert class_(4, data={"message": "Invalid namespace"}, namespace="/no").encode() == '4/no,{"message":"Invalid namespace"}'
    assert engineio.packet.Packet(engineio.packet.MESSAGE, data="x").data == "x"


def test_json_module_needs_two_functions_only() -> None:
    used = set(re.findall(r"(?:self\.)?json\.(\w+)", source(socketio.packet.Packet)))
    assert used == {"dumps", "loads"}
    assert json.loads(Json.dumps({"a": 1}, separators=(",", ":"))) == Json.loads('{"a":1}') == {"a": 1}


def test_connect_handler_is_called_with_environ_and_auth() -> None:
    """`HubSocketIO._handle_event` replaces both by a handshake."""
    calls: list[Any] = []
    manager = ClientManager(lambda sid, namespace: calls.append((sid, len(sent))))
    socket_io = HubSocketIO(Flask(__name__), client_manager=manager, json=Json, limits=LIMITS)
    server = socket_io.server
    sent: list[tuple[str, Any]] = []
    server.eio.send = lambda sid, data: sent.append((sid, data))
    server.eio.sockets["eio"] = Session(server.eio, "eio", 1000, gap_notice)
    socket_io.on_event("connect", lambda sid, handshake: calls.append(handshake.auth))
    socket_io.on_event("*", lambda sid, name, *arguments: (name, *arguments))
    server._handle_eio_connect("eio", {})
    for packet in ('0{"token":1}', '27["subscribe",{"pairs":"all"}]'):
        server._handle_eio_message("eio", packet)
    client = manager.sid_from_eio_sid("eio", "/")
    assert manager.eio_sid_from_sid(client, "/") == "eio"
    assert calls == [{"token": 1}, (client, 1)], "the CONNECT packet is sent before the call"
    assert sent[0] == ("eio", f'0{{"sid":"{client}"}}')
    assert sent[1] == ("eio", '37["subscribe",{"pairs":"all"}]')


def test_eventlet_has_the_parts_that_the_loop_uses() -> None:
    assert (READ, WRITE) == ("read", "write")
    assert original("socket").socket is not eventlet.greenio.GreenSocket
    event = eventlet.event.Event()
    assert not event.ready()
    event.send(True)
    assert event.ready()
    assert event.wait() is True
    assert isinstance(eventlet.wsgi.WSGI_LOCAL, object)
    assert hasattr(eventlet.greenio.GreenSocket(), "fd"), "wait_for_poll reads it"
    assert parameters(eventlet.GreenPool.__init__) == ["self", "size"]
    assert {"protocol", "custom_pool", "socket_timeout", "max_http_version", "log_output", "debug"} <= set(parameters(eventlet.wsgi.server))


def test_callback_runs_in_the_greenlet_of_the_loop() -> None:
    """Listeners and timers run in eventlet's own greenlet, so they must not block."""
    here, there = eventlet.original("socket").socketpair() if hasattr(eventlet, "original") else original("socket").socketpair()
    hub, received, done = hubs.get_hub(), [], eventlet.event.Event()

    def readable(fileno: int) -> None:
        received.append((fileno, eventlet.getcurrent() is hub.greenlet))
        hub.remove(listener)
        hub.schedule_call_global(0, done.send, None)

    listener = hub.add(READ, here.fileno(), readable, lambda _: None, lambda: None)
    there.send(b"x")
    with eventlet.Timeout(20):
        done.wait()
    assert received == [(here.fileno(), True)]
    here.close()
    there.close()
