"""The header of a token, read before its signature is verified. Pure."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from api.errors import Unauthorized

TYPES = ("JWT", "tickwire+jwt")
_MAX_REMEMBERED = 256  # headers: all tokens of an issuer have a few different ones
# base64url to base64; the characters of base64 alone become invalid ones
_TO_BASE64 = bytes.maketrans(b"-_+/", b"+/!!")


@dataclass(frozen=True, slots=True)
class Header:
    """The algorithm and the key id of a token; both are claims of its sender."""

    algorithm: str
    kid: str | None


def bad_token(reason: str) -> Unauthorized:
    """Return the refusal of a token; `reason` is for the log alone."""
    return Unauthorized(reason, sent=True)


def read_header(token: str, algorithms: Container[str]) -> Header:
    """Return the header of a token, which is ASCII text. Raises `Unauthorized`.

    Keys come from the settings alone: `jku`, `x5u` and `jwk` are not read.
    """
    if token.count(".") != 2:
        raise bad_token("malformed")
    header, problem = _parsed(token.partition(".")[0])
    if header.algorithm not in algorithms:
        raise bad_token("algorithm")
    if problem:
        raise bad_token(problem)
    return header


@lru_cache(maxsize=_MAX_REMEMBERED)
def _parsed(part: str) -> tuple[Header, str]:
    """Return the header, and its problem beside the algorithm; empty without one."""
    header = _parse(part)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise bad_token("algorithm")
    if header.get("typ", TYPES[0]) not in TYPES:
        return Header(algorithm, None), "type"
    if "crit" in header:
        return Header(algorithm, None), "critical_header"
    if (kid is not None and not isinstance(kid, str)) or header.get("b64", True) is not True:  # b64: RFC 7797
        return Header(algorithm, None), "malformed"
    return Header(algorithm, kid), ""


def decode_part(part: str) -> bytes:
    """Return the bytes of one part of a token, which is ASCII text. Raises `Unauthorized`.

    Each value has one text, apart from padding: other characters, and bits that no byte contains,
    are refused.
    """
    text = (part + "=" * (-len(part) % 4)).encode().translate(_TO_BASE64)
    try:
        data = a2b_base64(text)
    except ValueError:
        raise bad_token("malformed") from None
    if b2a_base64(data, newline=False) != text:
        raise bad_token("malformed")
    return data


def _parse(part: str) -> dict[str, Any]:
    try:
        header = orjson.loads(decode_part(part))
    except ValueError:
        raise bad_token("malformed") from None
    if not isinstance(header, dict):
        raise bad_token("malformed")
    return header
