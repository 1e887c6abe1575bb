"""The examples of docs/observability/BACKEND_API.md: requests to send, frames to exchange.

A block `http` has a request line, perhaps headers and a body, an empty line, the status and the
answer. A block `text` that begins with `GET /ws/metrics` or `Socket.IO /metrics` is a dialogue: `→`
is a frame of the client, `←` one of the server. A word after `#` in the first line is a note.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.examples.example import exact, layout, shorten
from tests.support.clients import NodeClient
from tests.support.plain import Plain
from tests.support.processes import ROOT, stopped

PAGE = ROOT / "docs" / "observability" / "BACKEND_API.md"
GUARDED = "AUTH=required"  # note of a dialogue with a hub that needs a credential
_BLOCK = re.compile(r"^```(http|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_HEADER = re.compile(r"^([A-Z][\w-]+): (.*)\n", re.MULTILINE)
_SENT, _RECEIVED = "→ ", "← "
_SOCKET_IO = "Socket.IO "

Cause = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the page. `status` is 0 and `answer` None before the first capture."""

    method: str
    path: str  # of REST, or a whole URL
    body: str
    status: int
    answer: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def route(self) -> str:
        return self.path.partition("?")[0]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Frames of the page: (→ or ←, text). A frame of Socket.IO is an event and its body."""

    first: str  # the line without its note
    note: str
    frames: tuple[tuple[str, str], ...]

    @property
    def over_socket_io(self) -> bool:
        return self.first.startswith(_SOCKET_IO)

    @property
    def received(self) -> list[str]:
        return [text for direction, text in self.frames if direction == "←"]

    def __str__(self) -> str:
        return f"{self.first} {self.note}".strip()


def read(text: str) -> list[Request | Dialogue]:
    """Return the examples of the page, in order."""
    return [example for kind, block in _BLOCK.findall(text) if (example := _example(kind, block)) is not None]


def _example(kind: str, block: str) -> Request | Dialogue | None:
    first, _, rest = block.partition("\n")
    if kind == "http":
        return _request(first, rest)
    if not first.startswith(("GET /ws/metrics", _SOCKET_IO)):
        return None
    frames: list[tuple[str, str]] = []
    for line in rest.splitlines():
        if line.startswith((_SENT, _RECEIVED)):
            frames.append((line[:1], line[2:]))
        else:
            frames[-1] = frames[-1][0], f"{frames[-1][1]}\n{line}"
    head, _, note = first.partition("#")
    return Dialogue(head.strip(), note.strip(), tuple(frames))


def _request(first: str, rest: str) -> Request:
    method, path = first.split()
    asked, _, after = f"\n{rest}".partition("\n\n")
    headers = dict(_HEADER.findall(asked + "\n"))
    body = _HEADER.sub("", asked.lstrip("\n") + "\n").strip()
    status, _, answer = after.partition("\n")
    return Request(method, path, body, int(status or 0), json.loads(answer) if answer.strip() else None, headers)


def send(rest: str, request: Request, place: Callable[[str], str] = str) -> tuple[int, str]:
    """Send a request of the page; return the status and the text of the answer.

    `place` replaces the addresses and names of the page by those of the running system.
    """
    data = place(request.body).encode() if request.body else None
    headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {}), **request.headers}
    url = place(request.path if "://" in request.path else rest + request.path)
    asked = urllib.request.Request(url, data, headers, method=request.method)  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def exchange(port: int, dialogue: Dialogue, cause: Cause, place: Callable[[str], str] = str) -> list[str]:
    """Exchange the frames of a dialogue; return those of the server, in its order.

    `cause(kind)` is called before a frame is awaited. Frames of other kinds are skipped.
    """
    return _over_socket_io(port, dialogue, cause, place) if dialogue.over_socket_io else _plain(port, dialogue, cause, place)


def _plain(port: int, dialogue: Dialogue, cause: Cause, place: Callable[[str], str]) -> list[str]:
    found = []
    with Plain(port, dialogue.first.partition("?")[2]) as client:
        for direction, text in dialogue.frames:
            if direction == "→":
                client.send(place(text))
                continue
            kind = kind_of(text)
            cause(kind)
            found.append(next(frame for frame in _received(client) if kind_of(frame) == kind or kind_of(frame) != "metrics_update"))
    return found


def _received(client: Plain) -> Iterator[str]:
    while True:
        frame = client.receive()
        assert isinstance(frame, str)
        yield frame


def _over_socket_io(port: int, dialogue: Dialogue, cause: Cause, place: Callable[[str], str]) -> list[str]:
    found: list[str] = []
    with NodeClient(f"http://127.0.0.1:{port}{dialogue.first.removeprefix(_SOCKET_IO)}") as client:
        for direction, text in dialogue.frames:
            event, _, body = text.partition(" ")
            if direction == "→":
                client.emit(event, *([json.loads(place(body))] if body else []))
                continue
            kind = kind_of(text)
            before = sum(kind_of(each) == kind for each in found)
            with stopped(client.pid) if kind == "gap_notice" else nullcontext():
                cause(kind)
            answer = client.wait(event, before + 1, partial(_is_of, event, kind))
            found.append(f"{event} {json.dumps(answer, ensure_ascii=False)}")
    return found


def _is_of(event: str, kind: str, body: Mapping[str, Any]) -> bool:
    return _kind(event, body) == kind


def kind_of(frame: str) -> str:
    """Return the type or event of a frame; of a text that is not JSON, the text.

    An error has its code behind a colon, an observability event its type.
    """
    event, _, text = frame.partition(" ")
    if frame.startswith("{"):
        body = json.loads(frame)
        return _kind(body["type"], body.get("error", body))
    return _kind(event, json.loads(text)) if text.startswith("{") else frame


def _kind(event: str, body: Mapping[str, Any]) -> str:
    more = body.get({"error": "code", "observability_event": "event_type"}.get(event, ""))
    return f"{event}:{more}" if more else event


def body_of(frame: str) -> Any:
    """Return the JSON of a frame, or None."""
    text = frame if frame.startswith("{") else frame.partition(" ")[2]
    return json.loads(text) if text.startswith("{") else None


def rewrite(text: str, answer: Callable[[Request | Dialogue], Any]) -> str:
    """Return the page with new answers: (status, JSON) of a request, the frames of a dialogue."""

    def block(match: re.Match[str]) -> str:
        example = _example(match[1], match[2])
        if example is None:
            return match[0]
        return f"```{match[1]}\n{_rendered(example, answer(example))}\n```"

    return _BLOCK.sub(block, text)


def _rendered(example: Request | Dialogue, answer: Any) -> str:
    if isinstance(example, Request):
        status, text = answer
        head = [str(example), *(f"{name}: {value}" for name, value in example.headers.items()), *([example.body] if example.body else [])]
        return "\n".join([*head, "", str(status), _shown(text)])
    received = iter(answer)
    lines = [f"{example.first}   # {example.note}" if example.note else example.first]
    for direction, text in example.frames:
        frame = text if direction == "→" else _shown_frame(next(received))
        lines.append(f"{direction} {frame}")
    return "\n".join(lines)


def _shown_frame(frame: str) -> str:
    if frame.startswith("{"):
        return _shown(frame, 2)
    event, _, body = frame.partition(" ")
    return f"{event} {_shown(body, 3 + len(event))}" if body.startswith("{") else frame


def _shown(text: str, indent: int = 0) -> str:
    """Return JSON laid out and shortened, with the digits of the text."""
    return layout(shorten(exact(text), []), indent)
