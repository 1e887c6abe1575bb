"""`manage.py`: its table of commands, and the packages that a process loads at its start."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

import manage
from tests.support.processes import ROOT

# Packages of single commands, or of settings that are off by default.
LATER = {"apscheduler", "holidays", "httpx", "jwt", "limits", "numpy", "rich", "websockets"}


@pytest.mark.parametrize("name", sorted(manage.COMMANDS))
def test_command_of_each_row_has_its_name(name: str) -> None:
    command = manage.cli.get_command(click.Context(manage.cli), name)
    assert command is not None
    assert command.name == name


def test_unknown_command_is_none() -> None:
    assert manage.cli.get_command(click.Context(manage.cli), "nonsense") is None


def test_rest_and_commands_start_without_packages_of_later_use() -> None:
    script = f"import sys, wsgi, api.app, manage, cli.access.keys, cli.access.audit; print(*sorted({LATER} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
