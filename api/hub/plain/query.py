"""The options in the URL of a plain WebSocket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import parse_qsl

from api.errors import ErrorCode, Refusal
from api.hub.transport.client_json import readable

_MAX_FIELDS = 10


def read_options(query: str, names: Sequence[str]) -> dict[str, str]:
    """Return the options of a query string, each one of `names`. Raises `Refusal`."""
    try:
        fields = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refusal(ErrorCode.INVALID_PAYLOAD, "Invalid query.", {"query": [f"At most {_MAX_FIELDS} options."]}) from None
    given: dict[str, str] = {}
    for name, value in fields:
        if name not in names:
            refuse_option(readable(name), f"There is no such option: one of {', '.join(names)}.")
        if name in given:
            refuse_option(name, "Given more than once.")
        given[name] = value
    return given


def refuse_option(name: str, problem: str) -> NoReturn:
    """Refuse an option of the URL."""
    raise Refusal(ErrorCode.INVALID_PAYLOAD, f"Invalid query: {name}.", {name: [problem]})
