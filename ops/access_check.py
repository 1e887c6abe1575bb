"""The check before a port opens that at least one caller can be accepted.

    python -m ops.access_check hub

It exits with 2 if credentials are required on an address outside of this machine, JWT is off, and
the table holds no usable key. On the loopback it logs a warning, because a key can still be made.
gunicorn runs it in a process of its own, which loads the database.
"""

from __future__ import annotations

import logging
import sys
from contextlib import closing

from config.access.modes import REQUIRED, is_loopback
from config.loops import UNFIT_CODE
from config.process.variables import is_child_of_up
from config.settings import Settings
from db.api_keys import has_usable_key
from db.postgres import StoreError
from db.timestamps import utc_now
from ops import startup
from ops.process import Unfit

log = logging.getLogger("ops.access_check")

COMMAND = "manage.py key create --name first --scopes read"


def check(chosen: Settings, service: str, url: str) -> None:
    """Raise `Unfit` if no caller could be accepted; on the loopback alone, log a warning.

    Raise nothing if the keys cannot be read: the processes then answer 503 until they can.
    """
    hosts = {"WEBSOCKET_HOST": chosen.websocket_host, "API_HOST": chosen.api_host}
    exposed = [f"{name}={host}" for name, host in hosts.items() if not is_loopback(host)]
    if chosen.auth_mode != REQUIRED or chosen.jwt_algorithms or (is_child_of_up() and not exposed):
        return
    try:
        with closing(startup.open_store(chosen, service, url=url, pool_max=1)) as store, store.transaction() as cursor:
            usable = has_usable_key(cursor, utc_now())
    except StoreError as error:
        log.warning("the keys cannot be read: callers receive 503 until they can", extra={"reason": str(error)})
        return
    if not usable and not exposed:
        log.warning("callers need a key, and there is none: create one with `%s`", COMMAND)
    elif not usable:
        raise Unfit(f"{exposed[0]} needs callers with a key, and there is none: create one with `{COMMAND}`, or listen on 127.0.0.1")


def main(service: str) -> None:
    """Check for the process `service`."""
    chosen = startup.prepare(service)
    url, _ = chosen.database_of(service)
    if url is None:
        return  # the process ends with another text
    try:
        check(chosen, service, url)
    except Unfit as error:
        log.error("%s", error)
        sys.exit(UNFIT_CODE)


if __name__ == "__main__":
    main(sys.argv[1])
