"""REST client on the standard library: rows are dicts, pages are fetched on demand."""

from __future__ import annotations

import json
import time
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

from tickwire_client.credentials import Credentials, Payload, bearer
from tickwire_client.errors import ConnectionFailed, Refused
from tickwire_client.failures import STATUS_CODES, error_in, retry_after_of, spread
from tickwire_client.messages import Body, format_time

ROWS_PER_PAGE = 5_000
_WAITED_CODES = {"too_many_requests", "server_full"}
_REFUSED_ARGUMENTS = {"api_key", "token", "access_token"}
Moment = datetime | str | timedelta  # a time, ISO 8601 text, or a time span before now


def default_rest_url(hub_url: str) -> str | None:
    """The address of REST if the hub has its default port 5001, else None."""
    parts = urlsplit(hub_url)
    if parts.port != 5001:
        return None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return urlunsplit((parts.scheme, f"{host}:5000", "", "", ""))


def check_url(url: str | None) -> None:
    """Raise `ValueError` for a credential in an address: addresses end in logs."""
    found = _REFUSED_ARGUMENTS & dict(urllib.parse.parse_qsl(urlsplit(url or "").query, keep_blank_values=True)).keys()
    if found:
        raise ValueError(f"a credential must not be in the address: use the argument auth, not {min(found)}")


def resolve_time(value: Moment) -> datetime:
    """The aware time of a `Moment`. A time without a zone is UTC."""
    if isinstance(value, timedelta):
        return datetime.now(UTC) - value
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


class Rest:
    """Requests to one REST server, with the credential. Keeps no connection; any thread may use it.

    An answer 429 is waited out, within the time limit. If the credential is refused and comes from
    a function, the function is called once.
    """

    def __init__(self, url: str | None, timeout: float, credentials: Credentials | None = None) -> None:
        self._url, self._timeout = url.rstrip("/") if url else None, timeout
        self._credentials = credentials or Credentials(None)

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
        deadline, renewed = time.monotonic() + self._timeout, not self._credentials.renewable
        while True:
            payload = self._credentials.for_rest()
            try:
                return self._send(target, body, headers, payload)
            except Refused as error:
                if error.code == "unauthorized" and not renewed:
                    renewed = True
                    self._credentials.renew(payload)
                    continue
                pause = _pause_after(error)
                if pause is None or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)

    def _send(self, target: str, body: bytes | None, headers: Mapping[str, str], payload: Payload | None) -> Body:
        request = urllib.request.Request(f"{self._url}{target}", body, dict(headers))  # noqa: S310 - the caller has checked the scheme
        if (authorization := bearer(payload)) is not None:
            request.add_unredirected_header("Authorization", authorization)  # another server must not receive it
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as answer:  # noqa: S310 - as above
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


def _pause_after(error: Refused) -> float | None:
    """The seconds after which the request may be sent again; None if it must not."""
    after = retry_after_of(error.details.get("retry_after"))
    return None if after is None or error.code not in _WAITED_CODES else spread(after)


def _refused(error: urllib.error.HTTPError) -> Refused:
    with error:
        try:
            found = error_in(error.read().decode(errors="replace"))
        except OSError:
            found = {}
    details = dict(found.get("details") or {})
    if (after := retry_after_of(error.headers.get("Retry-After"))) is not None:
        details.setdefault("retry_after", after)
    code = found.get("code") or STATUS_CODES.get(error.code, "http")
    return Refused(code, found.get("message") or f"HTTP {error.code} {error.reason}", details, error.code)
