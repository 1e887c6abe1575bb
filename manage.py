"""The commands of an operator: `python manage.py COMMAND`; `manage.py --help` lists them."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # modules are no garbage, and each search visits all of them

from importlib import import_module

import click

# command -> its module in `cli`, and its name there
COMMANDS = {
    "up": ("system", "up"),
    "migrate": ("system", "migrate"),
    "backup": ("backup", "backup"),
    "restore": ("backup", "restore"),
    "upgrade-database": ("upgrade", "upgrade_database"),
    "status": ("status", "status"),
    "doctor": ("doctor", "doctor"),
    "watch": ("watch", "watch"),
    "publish": ("publish", "publish"),
    "replay": ("past", "replay"),
    "backfill": ("past", "backfill"),
    "import": ("imports", "import_files"),
    "job": ("timed_jobs", "job"),
    "duties": ("timed_jobs", "duties"),
    "scenario": ("scenario.commands", "scenario"),
    "instrument": ("instruments", "instrument"),
    "key": ("access.keys", "key"),
    "token": ("access.keys", "token"),
    "audit": ("access.audit", "audit"),
    "bus": ("bus.commands", "bus"),
}


class Commands(click.Group):
    """Loads the module of a command when it is needed, so that each command starts quickly."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"cli.{module}"), name)
        gc.freeze()
        gc.enable()
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Run and look after Tickwire.

    Settings come from the environment, over .env beside this file; .env.example lists them.
    """


if __name__ == "__main__":
    cli()
