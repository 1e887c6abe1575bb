"""scripts/start_observability_api.py: its arguments and the settings for which they stand."""

from __future__ import annotations

import os
from typing import Any

import pytest

from config import settings as settings_module
from scripts import start_observability_api as script


def started(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[list[str], dict[str, str]]:
    """Return command and environment of the process that the script becomes."""
    found: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda program, command, environ: found.extend((command, environ)))
    script.main(arguments)
    return found[0], found[1]


def test_arguments_set_the_settings_of_up(monkeypatch: pytest.MonkeyPatch) -> None:
    command, environ = started(monkeypatch, "--host", "127.0.0.2", "--port", "8000", "--workers", "4", "--reload")
    assert command[1:] == [str(script.ROOT / "manage.py"), "up", "--reload"]
    chosen = settings_module.load(environ, dotenv=None)
    assert (chosen.api_host, chosen.websocket_host, chosen.api_port, chosen.api_workers) == ("127.0.0.2", "127.0.0.2", 8000, 4)


def test_argument_that_is_left_out_leaves_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_HOST", "WEBSOCKET_HOST", "API_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("API_PORT", "5999")
    command, environ = started(monkeypatch)
    assert command[1:] == [str(script.ROOT / "manage.py"), "up"]
    assert environ["API_PORT"] == "5999"
    assert not environ.keys() & {"API_HOST", "WEBSOCKET_HOST", "API_WORKERS"}


def test_wrong_value_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    _, environ = started(monkeypatch, "--port", "http")
    with pytest.raises(settings_module.SettingsError) as caught:
        settings_module.load(environ, dotenv=None)
    assert "API_PORT" in caught.value.problems
