"""PostgreSQL without a network, for the one statement that a restored cluster needs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ops.embedded.postgres import USER, programs_for
from ops.embedded.server import ENV
from ops.embedded.unprivileged import account_for, prefix
from ops.private_files import secret
from ops.process import StartError

_SECONDS = 600.0  # the recovery of a copy comes first


def set_password(hub_dir: Path) -> None:
    """Give the superuser of `hub_dir`/postgres the password of `hub_dir`, which may be a new one.

    The cluster recovers from its copy first. The password is on no command line and in no log.
    Raises `StartError`.
    """
    hub_dir = hub_dir.resolve()
    data = hub_dir / "postgres"
    program = programs_for(data) / "postgres"
    account = account_for(data)
    if account:
        account.own(data)
    password = secret(hub_dir / "postgres.password")
    command = (*prefix(account, program, hub_dir, "INT"), str(program), "--single", "-D", str(data), "postgres")
    script = f"SET log_min_error_statement = panic;\nALTER ROLE {USER} PASSWORD '{password}';\n"
    done = subprocess.run(command, env=ENV, input=script, capture_output=True, text=True, check=False, timeout=_SECONDS)
    if done.returncode != 0 or "ERROR" in done.stderr:
        text = done.stderr.strip().replace(password, "***")
        raise StartError(f"the copied cluster does not start:\n{text}")
