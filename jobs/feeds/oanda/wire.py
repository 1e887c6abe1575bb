"""OANDA's wire format, shared by its stream and its history: the name, request headers, times."""

from __future__ import annotations

import re
from typing import Any

from db.timestamps import format_time, parse_time
from jobs.feeds.base import BadInput, as_source_error

NAME = "oanda"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)  # RFC 3339 as OANDA writes it, to nanoseconds
_TOKEN = re.compile(r"[\x21-\x7e]+")


def request_headers(token: str | None) -> dict[str, str]:
    """The headers of every request to OANDA.

    Raises `SourceError` if there is no token, or one with characters that a header cannot hold: the
    HTTP client would quote such a token in its own error.
    """
    if not token:
        raise as_source_error(BadInput("OANDA_API_TOKEN is not set"))
    if not _TOKEN.fullmatch(token):
        raise as_source_error(BadInput("OANDA_API_TOKEN holds characters that no token has"))
    return {"Authorization": f"Bearer {token}", "Accept-Datetime-Format": "RFC3339"}


def contract_time(text: Any) -> str:
    """An RFC 3339 time with up to nanoseconds in contract form, which has microseconds.

    The digits beyond microseconds are cut off. Raises `ValueError` for anything else.
    """
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        raise ValueError("no time")
    return format_time(parse_time(text))
