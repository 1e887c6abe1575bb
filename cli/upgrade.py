"""`manage.py upgrade-database`."""

from __future__ import annotations

import click

from cli.common import chosen_settings, plain_errors, say, stopping
from db.timestamps import utc_now
from ops.embedded.held import held
from ops.process import Unfit
from ops.upgrade.upgrade import Choices, upgrade


@click.command("upgrade-database")
@click.option("--no-backup", is_flag=True, help="Write no dump into HUB_DATA_DIR/backups first.")
@click.option("--checksums", is_flag=True, help="Add checksums to all pages afterwards; this reads and writes all data.")
def upgrade_database(no_backup: bool, checksums: bool) -> None:
    """Upgrade the embedded PostgreSQL from 16 to 18; the system must not run.

    Dumps the database, links its files into new data (pg_upgrade), compares the rows, and keeps the
    old data as postgres.16. Exits with 2, and changes nothing, if the data are of another version
    or the disk is too full. After a failure or a kill, the next start uses the complete data.
    """
    chosen = chosen_settings("upgrade-database")
    with plain_errors(), stopping("stopped; the next start uses the data as they are"):
        if chosen.database_url:
            raise Unfit(f"{chosen.database_setting} names a server of your own: upgrade it with its own tools")
        with held(chosen.hub_data_dir, "an upgrade") as lock:
            done = upgrade(chosen.hub_data_dir, Choices(backup=not no_backup, checksums=checksums), utc_now, say, lock)
    for table, rows in done.rows.items():
        if rows:
            click.echo(f"{table:<32}{rows:>12} rows")
    click.echo(f"PostgreSQL 18 has all {sum(done.rows.values())} rows.")
    click.echo(f"Never start {done.kept} again: its files are linked. Delete it with: rm -r {done.kept}")
