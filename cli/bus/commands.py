"""`manage.py bus`: the layout of the bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.common import chosen_settings, plain_errors
from config.settings import Settings
from db.shards import SIZES
from db.timestamps import utc_now
from ops import embedded
from ops.bus.reshard import reshard as change
from ops.bus.setup import setup_of
from ops.embedded.held import held
from ops.process import StartError, Unfit
from ops.supervisor import Supervisor


@click.group()
def bus() -> None:
    """Look after the message bus."""


@bus.command()
@click.argument("shards", type=click.Choice([str(size) for size in SIZES]))
def reshard(shards: str) -> None:
    """Change the number of shards of the bus to SHARDS, then set BUS_SHARDS to it everywhere.

    All processes have to be stopped, and everything on the bus has to be stored: otherwise this
    exits with 1 and changes nothing. Streams, numbers and receipts are deleted, so that every
    instrument begins a new epoch; the latest prices stay.
    """
    chosen, number = chosen_settings("bus"), int(shards)
    if chosen.redis_mode == "cluster" and number < 2:
        raise click.BadParameter("a cluster needs at least 2 shards", param_hint="SHARDS")
    with plain_errors(), _url(chosen) as url:
        before = change(url, setup_of(chosen, url), number, utc_now)
    found = "1 shard" if number == 1 else f"{number} shards"
    if before == number:
        click.echo(f"The bus has {found} already.")
    else:
        click.echo(f"The bus has {found} now. Set BUS_SHARDS={number} for all processes.")


@contextmanager
def _url(chosen: Settings) -> Iterator[str]:
    """Yield the URL of the Redis of the settings; the embedded one runs for the block."""
    if chosen.redis_url:
        yield chosen.redis_url
        return
    try:
        with held(chosen.hub_data_dir, "a change of the shards") as lock, Supervisor(inherit=(lock,)) as supervisor:
            server = embedded.redis(chosen.hub_data_dir, restoring=True)
            supervisor.start(server)
            yield server.url
    except Unfit as error:
        raise StartError(str(error)) from error
