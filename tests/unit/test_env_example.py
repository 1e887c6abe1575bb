""".env.example contains exactly the settings, each with its default."""

from __future__ import annotations

import re
import subprocess
import sys

from dotenv import dotenv_values

from config import settings as settings_module
from tests.support.processes import ROOT


def example() -> dict[str, str]:
    return {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}


def test_example_lists_exactly_the_variables_once() -> None:
    names = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(name.upper() for name in settings_module._Environment().fields)


def test_example_values_equal_the_defaults() -> None:
    schema = settings_module._Environment()
    defaults = schema.load({})
    assert schema.load({name.lower(): value for name, value in example().items() if value}) == defaults
    for name, value in example().items():
        assert bool(value) == (defaults[name.lower()] not in (None, "", (), {})), name


def test_example_is_valid_settings() -> None:
    assert settings_module.load({}, dotenv=ROOT / ".env.example") == settings_module.load({}, dotenv=None)


def test_example_equals_the_printed_table_of_settings() -> None:
    printed = subprocess.run([sys.executable, "scripts/env_example.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout == (ROOT / ".env.example").read_text()


def test_example_line_has_at_most_100_characters() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if len(line) > 100] == []
