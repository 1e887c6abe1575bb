"""The servers that `backup` saves; those of the wheel are started if they do not run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from config.secrets import SCRUBBER
from config.settings import Settings
from ops import embedded, running
from ops.backup.save import Sources
from ops.bus.setup import setup_of
from ops.children import hold_stop_signals
from ops.embedded import moves
from ops.embedded.postgres import USER
from ops.embedded.server import Server
from ops.private_files import secret
from ops.process import Unfit
from ops.supervisor import Supervisor


@contextmanager
def open_sources(chosen: Settings, redis_dir: Path | None) -> Iterator[Sources]:
    """Yield the servers; those of the wheel that do not run are started for the block.

    `redis_dir` is the data directory of a Redis of the operator's own. Raises `Unfit`, `RunError`
    and `StartError`.
    """
    hub_dir = chosen.hub_data_dir
    hold_stop_signals()
    if chosen.database_url and chosen.redis_url:
        yield _sources(chosen, None, None, redis_dir)
        return
    _check_data(chosen)
    running.prepare_data_dir(hub_dir)
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(running.locked(hub_dir))
        except running.Busy:
            system = running.read(hub_dir)
            if system is None:
                raise
            database_url, redis_url = system.database_url, system.redis_url
        else:
            database_url, redis_url = _start(chosen, stack.enter_context(Supervisor(inherit=(lock,))))
        yield _sources(chosen, database_url, redis_url, redis_dir)


def _check_data(chosen: Settings) -> None:
    """Raise `Unfit` if there is nothing to save: a start would make an empty database."""
    hub_dir = chosen.hub_data_dir
    if not chosen.database_url and not (hub_dir / "postgres" / "PG_VERSION").is_file() and not (hub_dir / moves.FILE).is_file():
        raise Unfit(f"HUB_DATA_DIR {hub_dir} has no data: set it to the data directory of the system, or DATABASE_URL to its server")


def _start(chosen: Settings, supervisor: Supervisor) -> tuple[str, str]:
    """Start the servers that the settings do not name; return the URLs of both."""
    hub_dir = chosen.hub_data_dir
    embedded.check(hub_dir, postgres=not chosen.database_url)
    database: Server | None = None if chosen.database_url else embedded.postgres(hub_dir)
    redis = None if chosen.redis_url else embedded.redis(hub_dir)
    supervisor.start(*(server for server in (database, redis) if server))
    return database.url if database else str(chosen.database_direct_url), redis.url if redis else str(chosen.redis_url)


def _sources(chosen: Settings, database_url: str | None, redis_url: str | None, redis_dir: Path | None) -> Sources:
    """Return the servers; URLs of the settings come first."""
    hub_dir = chosen.hub_data_dir.resolve()
    database = chosen.database_direct_url or str(database_url)
    found = Sources(
        database_url=database,
        replication_url=database if chosen.database_url else _superuser(hub_dir, database),
        redis_url=chosen.redis_url or str(redis_url),
        redis_dir=redis_dir if chosen.redis_url else hub_dir / "redis",
        embedded=not chosen.database_url,
        setup=setup_of(chosen, chosen.redis_url or redis_url),
    )
    SCRUBBER.learn((found.database_url, found.replication_url, found.redis_url))
    return found


def _superuser(hub_dir: Path, url: str) -> str:
    """Return the URL of the embedded superuser, the only role that may copy the cluster."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{USER}:{quote(secret(hub_dir / 'postgres.password'))}@{place}"))
