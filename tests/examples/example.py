"""Captured messages, as files in docs/examples and as quotes in the documents."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from api.asyncapi import answers, requests
from api.hub.schemas.answers import ErrorEventSchema
from tests.support.processes import ROOT

FOLDER = ROOT / "docs" / "examples"
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Their links are checked; their blocks are examples of other tests, or of commands in DOCUMENTS.
PAGES = [ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/observability/*.md")), *sorted(ROOT.glob("clients/*/README.md"))]
REST = "http://127.0.0.1:5000"
_WIDTH = 140
_ROWS = 2  # quoted items of a long list
_LONG = 5
_QUOTE = re.compile(r"<!-- example: (?P<name>[\w/-]+) -->\n(?P<text>.*?)<!-- end -->", re.DOTALL)

_EXACT = re.compile('"⟨([^"⟩]*)⟩"')

# name -> content of docs/examples/NAME.json. Of the hub: [{"from": "client" or "hub", "event",
# "body"}, …] in the order of receipt, with a "namespace" if it is not `/`; of REST (`rest/…`):
# {"request", "status", "type", "answer"}, with the "body" or the "file" of a POST. Numbers with a
# point are as `exact` reads them.
Examples = dict[str, Any]


def exact(text: str) -> Any:
    """Return the JSON value of a text.

    A number with a point becomes the text ⟨DIGITS⟩, so that no digit is lost.
    """
    return json.loads(text, parse_float=lambda digits: f"⟨{digits}⟩")


def literals(text: str) -> str:
    """Return JSON text with the numbers of `exact` as literals."""
    return _EXACT.sub(r"\1", text)


def numbers(value: Any) -> Any:
    """Return the value with floats in place of the texts of `exact`."""
    return json.loads(literals(json.dumps(value, ensure_ascii=False)))


def places(text: str, ports: Mapping[int, int]) -> str:
    """Return a text of a running system with the ports of the documents.

    The name of the machine becomes `a1`.
    """
    for port, shown in ports.items():
        text = text.replace(f":{port}", f":{shown}")
    return text.replace(f"@{socket.gethostname()}", "@a1")


def read_all() -> Examples:
    """Read all files."""
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): exact(file.read_text()) for file in sorted(FOLDER.rglob("*.json"))}


def write_all(examples: Mapping[str, Any]) -> None:
    """Replace the files."""
    for file in FOLDER.rglob("*.json"):
        file.unlink()
    for name, example in examples.items():
        file = FOLDER / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(literals(json.dumps(example, indent=1, ensure_ascii=False)) + "\n")


def quotes(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each quote in a document."""
    for match in _QUOTE.finditer(text):
        yield match["name"], match["text"]


def quote_again(text: str, examples: Mapping[str, Any]) -> str:
    """Return the document with every quote replaced by the current example."""
    return _QUOTE.sub(lambda match: f"<!-- example: {match['name']} -->\n{render(examples[match['name']])}<!-- end -->", text)


def render(example: Any) -> str:
    """Return an example as Markdown.

    Long lists and objects are shortened to two items, with a note of their length.
    """
    return _render_request(example) if isinstance(example, dict) else _render_messages(example)


def _render_messages(messages: list[dict[str, Any]]) -> str:
    width = max(len(message["event"]) for message in messages) + 1
    notes: list[str] = []
    lines = [f"{each['event']:{width}}{layout(shorten(each['body'], notes), width)}" for each in messages]
    return _note(notes) + "```json\n" + "\n".join(lines) + "\n```\n"


def _render_request(example: dict[str, Any]) -> str:
    options = "-s" if example["status"] == 200 else "-s -w ' %{http_code}\\n'"
    header = " -H 'Accept: application/json'" if example["request"] == "/" else ""
    if "key" in example:
        header = f' -H "X-API-Key: {example["key"]}"'
    notes: list[str] = []
    answer, kind = example["answer"], "text"
    if example["type"] == "application/json":
        answer, kind = layout(shorten(answer, notes)), "json"
    data = ""
    if "body" in example:
        header, data = " -H 'Content-Type: application/json'", f" \\\n  -d '{layout(example['body'], 6)}'"
    if "file" in example:
        header = f" -F 'file=@{example['file']}'"
    request = f"```sh\ncurl {options}{header} '{REST}{example['request']}'{data}\n```\n"
    return f"{request}\n{_note(notes)}```{kind}\n{answer.rstrip()}\n```\n"


def _note(notes: list[str]) -> str:
    return f"Shortened: {', '.join(dict.fromkeys(notes))}.\n\n" if notes else ""


def shorten(value: Any, notes: list[str], name: str = "") -> Any:
    """Shorten each list, and each object keyed by instruments, of more than five items to two.

    A note per shortened value is added to `notes`.
    """
    if isinstance(value, list) and len(value) > _LONG:
        notes.append(f"`{name}` has {len(value)} items")
        value = value[:_ROWS]
    elif isinstance(value, dict) and len(value) > _LONG and all(key.isupper() for key in value):
        notes.append(f"`{name}` has {len(value)} entries")
        value = dict(list(value.items())[:_ROWS])
    if isinstance(value, dict):
        return {key: shorten(each, notes, key) for key, each in value.items()}
    if isinstance(value, list):
        return [shorten(each, notes, name) for each in value]
    return value


def layout(value: Any, indent: int = 0, behind: int = 0) -> str:
    """Return JSON on one line if it fits between `indent` and `behind` characters.

    If it does not fit, return an item per line, with short items together.
    """
    flat = literals(json.dumps(value, ensure_ascii=False))
    if len(flat) + indent + behind <= _WIDTH or not isinstance(value, dict | list) or not value:
        return flat
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    pairs = list(value.items()) if isinstance(value, dict) else [("", each) for each in value]
    lines, line = [], ""
    for key, each in pairs:
        label = f"{json.dumps(key)}: " if isinstance(value, dict) else ""
        item = label + layout(each, indent + 1 + len(label), 2)
        if line and ("\n" in item or "\n" in line or len(line) + len(item) + indent + 4 > _WIDTH):
            lines.append(line)
            line = item
        else:
            line = f"{line}, {item}" if line else item
    return opening + f",\n{' ' * (indent + 1)}".join([*lines, line]) + closing


def check_message(event: str, body: Any, namespace: str = "/") -> None:
    """Raise if the body does not fit the schema of the event."""
    if event == "connect_error":
        assert body["message"] == body["data"]["code"]
        ErrorEventSchema().load(body["data"])
    else:
        {**answers(namespace), **requests(namespace)}[event]().load(numbers(body))
