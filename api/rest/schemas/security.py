"""Credentials and scopes in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apispec import APISpec, BasePlugin

from api.access.model import OPEN

API_KEY, BEARER = "apiKey", "bearer"  # names of the security schemes
_SCHEMES = {
    API_KEY: {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key, as `manage.py key create` prints it"},
    BEARER: {"type": "http", "scheme": "bearer", "description": "A JWT of your identity service, or a key"},
}
_NOBODY: dict[str, list[str]] = {}  # the alternative without a credential


class Security(BasePlugin):
    """Adds `security` and the scope to each operation.

    `scopes`, `others` (which suffice too) and `details` map endpoints to scopes. `anonymous`:
    callers without a credential have rights.
    """

    def __init__(self, scopes: Mapping[str, str], others: Mapping[str, str], details: Mapping[str, str], *, anonymous: bool) -> None:
        self._scopes = scopes
        self._others = others
        self._details = details
        self._anonymous = anonymous

    def init_spec(self, spec: APISpec) -> None:
        """Add the security schemes."""
        for name, scheme in _SCHEMES.items():
            spec.components.security_scheme(name, scheme)

    def operation_helper(self, path: str | None = None, operations: dict[str, Any] | None = None, **about: Any) -> None:
        """Add the scope of the path's endpoint to its operations."""
        endpoint = about["rule"].endpoint
        scope, details = self._scopes[endpoint], self._details.get(endpoint, OPEN)
        for operation in (operations or {}).values():
            operation["security"] = self._alternatives(scope, self._others.get(endpoint), details)
            if text := _needs(scope, self._others.get(endpoint), details):
                operation["description"] = "\n\n".join(filter(None, (operation.get("description"), text)))

    def _alternatives(self, scope: str, other: str | None, details: str) -> list[dict[str, list[str]]]:
        """Return the credentials of which one suffices, each with the needed scope."""
        needed = scope or details
        if needed == OPEN:
            return []
        nobody = [_NOBODY] if self._anonymous or scope == OPEN else []
        return [*nobody, *({name: [each]} for each in (needed, other) if each for name in _SCHEMES)]


def _needs(scope: str, other: str | None, details: str) -> str:
    """Return the sentence about the scope."""
    if other:
        return f"Needs the scope `{scope}` or `{other}`."
    if scope != OPEN:
        return f"Needs the scope `{scope}`."
    return f"Details need the scope `{details}`." if details != OPEN else ""
