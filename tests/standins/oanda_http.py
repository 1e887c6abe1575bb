"""HTTP for the OANDA stand-in: requests, responses and endless responses, byte by byte."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body
JSON = {"Content-Type": "application/json"}
_PHRASES = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, eq=False)
class Listener:
    """One open pricing stream."""

    writer: asyncio.StreamWriter
    instruments: frozenset[str]
    stalled: bool = False
    lines: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, line: bytes) -> None:
        """Send one line. Every seventh line is two chunks, because chunks may split lines."""
        self.lines += 1
        cut = len(line) // 2 if self.lines % 7 == 0 else 0
        for part in (line[:cut], line[cut:]):
            if part:
                self.writer.write(b"%x\r\n%s\r\n" % (len(part), part))

    def close(self, *, rudely: bool = False) -> None:
        """Close the stream; if `rudely`, with a reset that may destroy sent data."""
        self.gone.set()
        if rudely:
            self.writer.transport.abort()
        else:
            self.writer.close()


def refused(status: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """Return an error of the API, or of the proxy before it if `message` is empty."""
    more = headers or {}
    if message:
        return status, {**JSON, **more}, json.dumps({"errorMessage": message}).encode()
    return status, {"Content-Type": "text/html", **more}, f"<html><body><h1>{status}</h1></body></html>".encode()


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read the next request; return None if the client has closed the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *rest = head.split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
    method, target, _ = first.split(" ")
    url = urlsplit(target)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, url.path, dict(parse_qsl(url.query)), headers, body)


async def send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    status, headers, body = answer
    fields = {**headers, "Content-Length": str(len(body)), "RequestID": "42521523389037367"}
    head = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Service Unavailable')}\r\n"
    writer.write((head + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode() + body)
    await writer.drain()
