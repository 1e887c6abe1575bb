"""The commands of an operator: `python manage.py COMMAND`; `manage.py --help` lists them."""

from __future__ import annotations

import click

from cli.imports import import_files
from cli.instruments import instrument
from cli.past import backfill, replay
from cli.publish import publish
from cli.system import migrate, status, up
from cli.timed_jobs import job
from cli.watch import watch


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run and look after Tickwire.

    Settings come from the environment, over .env beside this file; .env.example lists them.
    """


for command in (up, migrate, status, watch, publish, replay, backfill, import_files, job, instrument):
    cli.add_command(command)

if __name__ == "__main__":
    cli()
