"""Fields of the settings of access control."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError
from marshmallow.fields import Field

from config.access.patterns import compile_patterns
from config.access.scopes import check_scopes
from config.fields import Items

SYMMETRIC = "HS256"
ALGORITHMS = (SYMMETRIC, "RS256", "ES256", "EdDSA")


class Flag(Field[bool]):
    """`true` or `false`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if value not in ("true", "false"):
            raise ValidationError(f"{value!r:.40} is neither true nor false.")
        return bool(value == "true")


class _Names(Items):
    """A comma list of checked names."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return self.checked(super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def checked(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the valid names. Raises `ValueError`."""
        raise NotImplementedError


class ScopeNames(_Names):
    """Scopes, in the order of `SCOPES`."""

    def checked(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the scopes. Raises `ScopeError`."""
        return check_scopes(names)


class InstrumentPatterns(_Names):
    """Patterns of instruments."""

    def checked(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the texts of the patterns. Raises `PatternError`."""
        return compile_patterns(names).texts


class JwtAlgorithms(_Names):
    """Algorithms of signatures, each once."""

    def checked(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the algorithms. Raises `ValueError`."""
        if unknown := [name for name in names if name not in ALGORITHMS]:
            raise ValueError(f"{unknown[0]!r:.40} is not one of {', '.join(ALGORITHMS)}.")
        if SYMMETRIC in names and set(names) != {SYMMETRIC}:
            raise ValueError(f"{SYMMETRIC} needs a secret, the others public keys: use one kind.")
        return tuple(dict.fromkeys(names))
