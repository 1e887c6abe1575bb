"""REST client on the standard library: rows are dicts, pages are fetched on demand."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from itertools import islice
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tickwire_client.errors import ConnectionFailed, Refused
from tickwire_client.messages import Body, format_time

ROWS_PER_PAGE = 5_000
Moment = datetime | str | timedelta  # a time, ISO 8601 text, or a time span before now


def default_rest_url(hub_url: str) -> str | None:
    """The address of REST if the hub has its default port 5001, else None."""
    parts = urlsplit(hub_url)
    if parts.port != 5001:
        return None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:5000", "", "", ""))


def resolve_time(value: Moment) -> datetime:
    """The aware time of a `Moment`. A time without a zone is UTC."""
    if isinstance(value, timedelta):
        return datetime.now(UTC) - value
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


class Rest:
    """Requests to one REST server. Keeps no connection; any thread may use it."""

    def __init__(self, url: str | None, timeout: float) -> None:
        self._url, self._timeout = url.rstrip("/") if url else None, timeout

    def get(self, path: str, **query: Any) -> Body:
        """The body of an answer. Raises `Refused` with the code of REST, or `ConnectionFailed`."""
        encoded = urllib.parse.urlencode({name: _text(value) for name, value in query.items() if value is not None})
        return self._answer(f"{path}?{encoded}" if encoded else path)

    def post(self, path: str, body: bytes, kind: str) -> Body:
        """The body of the answer to a POST with the content type `kind`; raises as `get` does."""
        return self._answer(path, body, {"Content-Type": kind})

    def _answer(self, target: str, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})) -> Body:
        if self._url is None:
            raise ValueError("this needs the address of REST: Client(url, rest_url=…)")
        if not self._url.startswith(("http://", "https://")):
            raise ValueError(f"not an http address: {self._url}")
        request = urllib.request.Request(f"{self._url}{target}", body, dict(headers))  # noqa: S310 - the scheme is checked above
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:  # noqa: S310 - the scheme is checked above
                found: Body = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            raise _refused(error) from None
        except (OSError, ValueError, HTTPException) as error:  # URLError and timeouts are OSErrors
            raise ConnectionFailed(f"no answer from {self._url}: {error}") from None

    def rows(self, path: str, field: str, limit: int | None = None, **query: Any) -> Iterator[Body]:
        """Iterate over the rows of a listing, at most `limit`. Pages are fetched on demand."""
        return islice(self._pages(path, field, min(ROWS_PER_PAGE, limit or ROWS_PER_PAGE), query), limit)

    def _pages(self, path: str, field: str, page: int, query: dict[str, Any]) -> Iterator[Body]:
        token = None
        while True:
            body = self.get(path, **query, limit=page, page_token=token)
            yield from body[field]
            token = body["next_page_token"]
            if token is None:
                return


def _text(value: Any) -> str:
    if isinstance(value, datetime | timedelta):
        return format_time(resolve_time(value))
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ",".join(value)


def _refused(error: urllib.error.HTTPError) -> Refused:
    with error:
        try:
            body = json.load(error)["error"]
            return Refused(body["code"], body["message"], body.get("details"), error.code)
        except (OSError, ValueError, LookupError, TypeError):
            return Refused("http", f"HTTP {error.code} {error.reason}", None, error.code)
