"""The variables of a process: the environment over `.env`. The only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from dotenv import dotenv_values

_Text = TypeVar("_Text", str, str | None)

# Prefix of variables -> processes and commands that load them. Others load all variables but these.
_SERVICES = {"OANDA_": ("up", "jobs", "job", "backfill"), "JWT_": ("up", "hub", "rest", "token")}
# Logs of a process must not contain them, even if the process has no use for them.
_OTHER_SECRETS = ("DB_PASSWORD", "REDIS_PASSWORD", "OANDA_API_TOKEN", "OANDA_ACCOUNT_ID", "JWT_SECRET")
# `up` sets it for its processes, which need not repeat its warnings.
CHILD_OF_UP = "TICKWIRE_CHILD_OF_UP"


def read_variables(environ: Mapping[str, str] | None, dotenv: Path | None, service: str | None) -> dict[str, str | None]:
    """Return `environ`, by default that of the process, over the file `dotenv` if it exists.

    Of the file, variables of other services are left out.
    """
    file = dotenv_values(dotenv) if dotenv is not None and dotenv.is_file() else {}
    return {**variables_of(service, file), **(os.environ if environ is None else environ)}


def variables_of(service: str | None, environ: Mapping[str, _Text]) -> dict[str, _Text]:
    """Return the variables without those that belong to other services; all of them if None."""
    foreign = tuple(prefix for prefix, services in _SERVICES.items() if service is not None and service not in services)
    return {name: value for name, value in environ.items() if not name.upper().startswith(foreign)}


def other_secrets(
    environ: Mapping[str, str] | None = None, *, dotenv: Path | None = Path(".env"), service: str | None = None
) -> tuple[str, ...]:
    """The values of secret variables that no setting of this process holds.

    Of the file, those of other services are not read.
    """
    merged = read_variables(environ, dotenv, service)
    return tuple(value.strip() for name in _OTHER_SECRETS if (value := merged.get(name)))


def is_child_of_up() -> bool:
    """Return True in a process that `manage.py up` has started."""
    return bool(os.environ.get(CHILD_OF_UP))
