"""The embedded servers of tests: users with more rights than ours, and addresses of our roles."""

from __future__ import annotations

import re
from pathlib import Path

from db.rights import OWNER, ROLES
from ops.embedded.postgres import USER as SUPERUSER
from ops.embedded.redis import USER as REDIS_USER
from ops.embedded.server import Server
from ops.private_files import write_private

OPERATOR = "operator"  # a user of Redis with every right
ROLE_PASSWORD = "the-word-of-tests"  # of all roles of PostgreSQL


def add_operator(redis: Server, hub_dir: Path, channels: tuple[str, ...] = ()) -> str:
    """Add the operator to the configuration of a Redis that is not started yet; return its URL.

    Our own user may use `channels`, which tests invent.
    """
    config = hub_dir / "redis" / "redis.conf"
    text = config.read_text()
    [ours] = re.findall(rf"^user {REDIS_USER} on (#\w+) .*$", text, re.MULTILINE)
    more = "".join(f" &{name}" for name in channels)
    write_private(config, f"{text.rstrip()}{more}\nuser {OPERATOR} on {ours} ~* &* +@all\n")
    return operator_url(redis.url)


def operator_url(redis_url: str) -> str:
    """Return the URL of the operator whom `add_operator` has added."""
    return redis_url.replace(f"//{REDIS_USER}:", f"//{OPERATOR}:", 1)


def of_database(redis_url: str, number: int) -> str:
    """Return the URL of another database of the same Redis."""
    if redis_url.startswith("unix:"):
        return re.sub(r"\bdb=\d+", f"db={number}", redis_url)
    return redis_url.rsplit("/", 1)[0] + f"/{number}"


def equal_passwords(hub_dir: Path) -> None:
    """Give all roles of a PostgreSQL that is not created yet one password, for `as_role`."""
    hub_dir.mkdir(exist_ok=True)
    for role in ROLES:
        write_private(hub_dir / f"postgres.{role.removeprefix('tickwire_')}.password", ROLE_PASSWORD)


def as_role(database_url: str, role: str) -> str:
    """Return the URL of a role of a PostgreSQL with `equal_passwords`; others are unchanged."""
    return database_url.replace(f"//{OWNER}:{ROLE_PASSWORD}@", f"//{role}:{ROLE_PASSWORD}@", 1)


def superuser_url(hub_dir: Path, database_url: str) -> str:
    """Return the URL of the bootstrap superuser, for the database of `database_url`."""
    password = (hub_dir / "postgres.password").read_text()
    return re.sub(r"//[^@]*@", f"//{SUPERUSER}:{password}@", database_url, count=1)
