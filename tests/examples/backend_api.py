"""The examples of docs/observability/BACKEND_API.md: requests to send, frames to exchange.

A block `http` has a request line, perhaps a body, an empty line, the status and the answer.
A block `text` that begins with `GET /ws/metrics` has frames: `→` of the client, `←` of the server.
"""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.examples.example import layout, shorten
from tests.support.plain import Plain
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "observability" / "BACKEND_API.md"
_BLOCK = re.compile(r"^```(http|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SENT, _RECEIVED = "→ ", "← "
# beginning of an event that a test causes -> type of the frame that follows
NOTIFICATIONS = ("trade_notification", "alert_notification")


@dataclass(frozen=True, slots=True)
class Request:
    """A request of the page. `status` is 0 and `answer` None before the first capture."""

    method: str
    path: str
    body: str
    status: int
    answer: Any

    @property
    def route(self) -> str:
        return self.path.partition("?")[0]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Frames of the page: texts of the client, and frames of the server as JSON or text."""

    path: str
    frames: tuple[tuple[str, str], ...]  # (→ or ←, text)
    body: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.path


def read(text: str) -> list[Request | Dialogue]:
    """Return the examples of the page, in order."""
    return [example for kind, block in _BLOCK.findall(text) if (example := _example(kind, block)) is not None]


def _example(kind: str, block: str) -> Request | Dialogue | None:
    first, _, rest = block.partition("\n")
    if kind == "http":
        method, path = first.split()
        body, _, after = rest.partition("\n\n") if "\n\n" in rest else ("", "", rest[1:]) if rest.startswith("\n") else (rest, "", "")
        status, _, answer = after.partition("\n")
        return Request(method, path, body.strip(), int(status or 0), json.loads(answer) if answer.strip() else None)
    if not first.startswith("GET /ws/metrics"):
        return None
    frames: list[tuple[str, str]] = []
    for line in rest.splitlines():
        if line.startswith((_SENT, _RECEIVED)):
            frames.append((line[:1], line[2:]))
        else:
            frames[-1] = frames[-1][0], f"{frames[-1][1]}\n{line}"
    return Dialogue(first.removeprefix("GET "), tuple(frames))


def send(rest: str, request: Request, number: int) -> tuple[int, str]:
    """Send a request of the page; return the status and the text of the answer."""
    now = datetime.now(UTC).isoformat()
    data = request.body.replace("$NOW", now).replace("$NUMBER", str(number)).encode() if request.body else None
    headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if data else {})}
    asked = urllib.request.Request(rest + request.path, data, headers, method=request.method)  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def exchange(port: int, dialogue: Dialogue, cause: Callable[[str], None]) -> list[str]:
    """Exchange the frames of a dialogue; return those of the server, in its order.

    Snapshots in between are skipped. `cause(type)` is called before a notification is awaited.
    """
    found = []
    with Plain(port, dialogue.path.partition("?")[2]) as client:
        for direction, text in dialogue.frames:
            if direction == "→":
                client.send(text)
                continue
            kind = type_of(text)
            if kind in NOTIFICATIONS:
                cause(kind)
            found.append(next(frame for frame in _received(client) if type_of(frame) == kind or type_of(frame) != "metrics_update"))
    return found


def _received(client: Plain) -> Iterator[str]:
    while True:
        frame = client.receive()
        assert isinstance(frame, str)
        yield frame


def type_of(frame: str) -> str:
    """Return the type of a frame: of a text that is not JSON, the text."""
    return str(json.loads(frame)["type"]) if frame.startswith("{") else frame


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
        head = f"{example}\n{example.body}\n" if example.body else f"{example}\n"
        return f"{head}\n{status}\n{_shown(text)}"
    received = iter(answer)
    lines = [f"GET {example.path}"]
    for direction, text in example.frames:
        frame = text if direction == "→" else next(received)
        lines.append(f"{direction} {_shown(frame, 2) if frame.startswith('{') and direction == '←' else frame}")
    return "\n".join(lines)


def _shown(text: str, indent: int = 0) -> str:
    """Return JSON laid out and shortened, with the digits of the text."""
    body = json.loads(text, parse_float=lambda digits: f"⟨{digits}⟩")
    return re.sub(r'"⟨(.*?)⟩"', r"\1", layout(shorten(body, []), indent))
