"""The header `WWW-Authenticate` of refusals over HTTP (RFC 6750, section 3). Pure."""

from __future__ import annotations

from api.errors import ErrorCode, Refusal, Unauthorized

REALM = 'Bearer realm="tickwire"'


def challenge(refusal: Refusal) -> str | None:
    """Return the value of the header; None if the refusal is not about a right."""
    if isinstance(refusal, Unauthorized):
        return f'{REALM}, error="invalid_token"' if refusal.sent else REALM
    if refusal.code is ErrorCode.FORBIDDEN:
        return f'{REALM}, error="insufficient_scope"'
    return REALM if refusal.code is ErrorCode.UNAUTHORIZED else None
