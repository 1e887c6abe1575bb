"""Reading of credentials: headers and the payload of CONNECT; never the query string. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from api.errors import ErrorCode, Refusal, Unauthorized
from config.access.keys import digest_of, id_of

MAX_CREDENTIAL_BYTES = 4096
# Names of query arguments that clients of other systems use for credentials.
REFUSED_ARGUMENTS = frozenset({"api_key", "token", "access_token"})
_TOKEN, _KEY = "token", "api_key"  # names in the payload of CONNECT
_BEARER = "Bearer "
CREDENTIAL_HEADERS = ("authorization", "x-api-key")


@dataclass(slots=True)  # frozen ones take three times as long to make, and each request has one
class Credential:
    """A credential as it was sent. `key_id` is None for a JWT. `digest` is its SHA-256."""

    text: str = field(repr=False)
    key_id: str | None
    digest: bytes = field(repr=False)


def read_credential(headers: Mapping[str, str], auth: Mapping[str, Any] | None = None) -> Credential | None:
    """Return the credential of a request or of a CONNECT; None if there is none.

    `headers` has lower-case names. The same credential may be sent twice. Raises `Refusal`
    (`invalid_payload`) for two different ones, and `Unauthorized` for a malformed one.
    """
    authorization, key = headers.get("authorization"), headers.get("x-api-key")
    if not auth:  # usually
        if authorization is None:
            if key is None:
                return None
            if "," not in key:
                return _parse(key.strip(), key_only=True)
        elif key is None and authorization.startswith(_BEARER) and "," not in authorization:
            return _parse(authorization[len(_BEARER) :].strip(), key_only=False)
    found = [*_of_headers(authorization, key), *_of_payload(auth)]
    if not found:
        return None
    text = found[0][0]
    if any(other != text for other, _ in found):
        raise two_credentials()
    return _parse(text, key_only=any(key_only for _, key_only in found))


def two_credentials() -> Refusal:
    """Return the refusal of a request, or a CONNECT, with two different credentials."""
    message = "There are two different credentials: send one."
    return Refusal(ErrorCode.INVALID_PAYLOAD, message, {"credentials": ["Send one."]})


def digest_in(auth: Mapping[str, Any] | None) -> bytes | None:
    """Return the SHA-256 of the credential in a payload of CONNECT; None if there is none."""
    found = next((text for text, _ in _of_payload(auth) if text), None)
    return None if found is None else digest_of(found)


def refuse_query(query: str) -> None:
    """Raise `Refusal` (`invalid_payload`) if the query string has a name of a credential."""
    if "%" not in query and not any(name in query for name in REFUSED_ARGUMENTS):  # usually
        return
    if found := REFUSED_ARGUMENTS & {name for name, _ in parse_qsl(query, keep_blank_values=True)}:
        name = min(found)
        message = f"A credential must not be in the URL: use Authorization or X-API-Key, not {name}."
        raise Refusal(ErrorCode.INVALID_PAYLOAD, message, {name: ["Not in the URL: use a header."]})


def _of_headers(authorization: str | None, key: str | None) -> list[tuple[str, bool]]:
    """Return (text, True if only a key may be there) of each header.

    Values of a header that was sent twice are joined by a comma.
    """
    found = []
    for value in _values(authorization):
        scheme, _, text = value.partition(" ")
        found.append((text.strip() if scheme.lower() == "bearer" else "", False))
    found.extend((value, True) for value in _values(key))
    return found


def _values(header: str | None) -> list[str]:
    return [] if header is None else [value.strip() for value in header.split(",")]


def _of_payload(auth: Mapping[str, Any] | None) -> list[tuple[str, bool]]:
    given = auth if isinstance(auth, Mapping) else {}
    pairs = [(given.get(_TOKEN), False), (given.get(_KEY), True)]
    return [(value if isinstance(value, str) else "", key_only) for value, key_only in pairs if value is not None]


def _parse(text: str, *, key_only: bool) -> Credential:
    key_id = id_of(text)
    if key_id is None and (key_only or text.count(".") != 2 or not text.isascii() or len(text) > MAX_CREDENTIAL_BYTES):
        raise Unauthorized("malformed", sent=True)
    return Credential(text, key_id, digest_of(text))
