"""`manage.py watch`: live prices on the terminal, by the Python client of this checkout."""

from __future__ import annotations

import os
import sys

import click

from cli.common import ROOT, chosen_settings, plain_errors, running_system

_CLIENT = ROOT / "clients" / "python"


@click.command()
@click.argument("symbols", metavar="[SYMBOL]...", nargs=-1)
@click.option("--url", metavar="URL", help="Address of a hub. By default, the hub of the system that runs on HUB_DATA_DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line: a price, or a gap.")
def watch(symbols: tuple[str, ...], url: str | None, as_json: bool) -> None:
    """Watch live prices until Ctrl-C.

    A terminal shows a table; a pipe or a file receives one line per price. SYMBOL is the name of an
    instrument, or all; the default is EUR_USD GBP_USD USD_JPY BTCUSDT AAPL, or all instruments that
    the key permits if it does not permit these. The environment variable TICKWIRE_API_KEY has the
    key or token, if the hub needs one.
    """
    with plain_errors():
        address = url or running_system(chosen_settings("watch")).hub
    names = [name.lower() if name.upper() == "ALL" else name.upper() for name in symbols]
    path = os.pathsep.join(filter(None, (str(_CLIENT), os.environ.get("PYTHONPATH"))))
    argv = [sys.executable, "-m", "tickwire_client", "watch", "--url", address, *(["--json"] if as_json else []), "--", *names]
    # This process becomes the client: signals, terminal and exit code are those of the client.
    os.execve(argv[0], argv, {**os.environ, "PYTHONPATH": path})  # noqa: S606 - no shell is needed
