"""The rights of our user of Redis equal the commands that the code and the scripts send."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from limits.storage import RedisStorage

from db import bus
from db.bus.commands import COMMANDS, OF_OPERATORS, OF_RESTORE, REFUSABLE

FOLDER = Path(bus.__file__).parent
# method of redis-py -> command, if it is not the name in upper case
METHODS = {
    "config_get": "CONFIG|GET",
    "delete": "DEL",
    "pipeline": "",  # without MULTI
    "register_script": "",  # computes a digest
    "scan_iter": "SCAN",
    "script_load": "SCRIPT|LOAD",
    "xgroup_create": "XGROUP|CREATE",
    "xgroup_destroy": "XGROUP|DESTROY",
    "connection_pool": "",
    "close": "",
    "execute": "",
}
# Sent by redis-py itself, or by subscribers and transactions of other parts.
OF_CLIENT = {"AUTH", "HELLO", "PING", "SELECT", "MULTI", "EXEC", "UNSUBSCRIBE"}
WITH_SUBCOMMAND = {"XGROUP", "XINFO", "SCRIPT", "CLUSTER"}


def of_python() -> Iterator[str]:
    """Yield each command that a module sends through a client or a pipeline."""
    for file in sorted(FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name, owner = node.func.attr, ast.unparse(node.func.value)
            if owner in ("self._redis", "pipe", "client", "node.client"):
                yield METHODS.get(name, name.upper())
            if name in ("send_command", "execute_command") and node.args and isinstance(node.args[0], ast.Constant):
                words = [str(word.value) for word in node.args[:2] if isinstance(word, ast.Constant)]
                yield "|".join(words if words[0] in WITH_SUBCOMMAND else words[:1])


def of_scripts() -> Iterator[str]:
    for file in sorted(FOLDER.rglob("*.lua")):
        text = re.sub(r"--.*", "", file.read_text())
        calls = re.findall(r"redis\.p?call\(", text)
        words = re.findall(r"redis\.p?call\('([A-Za-z]+)'(?:, *'([A-Za-z]+)')?", text)
        assert len(calls) == len(words), f"{file.name}: a command is not a literal"
        yield from (f"{name}|{second}" if name in WITH_SUBCOMMAND else name for name, second in words)


def of_limits() -> Iterator[str]:
    """Yield the commands of the two scripts of the package `limits` that we run."""
    for text in (RedisStorage.SCRIPT_ACQUIRE_SLIDING_WINDOW, RedisStorage.SCRIPT_SLIDING_WINDOW):
        yield from (name.upper() for name in re.findall(r"redis\.call\('([a-z]+)'", text.decode() if isinstance(text, bytes) else text))


def test_rights_contain_exactly_the_commands_that_are_sent() -> None:
    sent = {*of_python(), *of_scripts(), *of_limits()} - {""}
    assert {"XADD", "HMGET", "XGROUP|CREATE", "SUBSCRIBE", "EVALSHA"} <= sent  # the search finds commands
    assert sent - set(COMMANDS) - set(OF_OPERATORS) == {*REFUSABLE, *OF_RESTORE}
    assert {"SPUBLISH", "CLUSTER|MYID"} <= sent
    assert set(COMMANDS) - sent - OF_CLIENT == set()
    assert len(set(COMMANDS)) == len(COMMANDS)
