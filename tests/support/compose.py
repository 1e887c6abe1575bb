"""docker-compose.yml in the form in which Compose reads it."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.support.processes import ROOT

PASSWORDS = {"DB_PASSWORD": "database-word", "REDIS_PASSWORD": "redis-word"}
Service = dict[str, Any]


def interpolated(text: str, environ: dict[str, str]) -> str:
    """Replace `$$`, `${NAME}`, `${NAME:-default}`, `${NAME-default}` and `${NAME:?message}`.

    Compose does the same.

    Raises `KeyError` if a required variable is missing.
    """

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name, operator, operand = match["name"], match["operator"], match["operand"]
        if environ.get(name) or operator is None or (operator == "-" and name in environ):
            return environ[name]
        if operator == ":?":
            raise KeyError(operand)
        return str(operand)

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:-|:\?|-)(?P<operand>[^}]*))?\}", value, text)


def compose(**environ: str) -> dict[str, Any]:
    """Return the file as Compose reads it if the passwords and `environ` are set."""

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(item) for item in node]
        return interpolated(node, {**PASSWORDS, **environ}) if isinstance(node, str) else node

    return dict(walk(yaml.safe_load((ROOT / "docker-compose.yml").read_text())))
