"""`manage.py publish`: one price by `POST /prices`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from cli.common import Moment, chosen_settings, no_connection, plain_errors, running_system
from db.timestamps import format_time
from ops import running

_SECONDS = 10.0
_KEY = "TICKWIRE_API_KEY"


def _from_environment(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse a key on the command line, which other users of the machine can read."""
    if context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE:
        raise click.UsageError(f"a key on the command line is visible to other users: set {_KEY}")
    return value


@click.command()
@click.argument("instrument")
@click.argument("bid")
@click.argument("ask")
@click.option("--time", "moment", type=Moment(), metavar="TIME", help="Time of the price; UTC unless it has an offset. By default, now.")
@click.option("--url", metavar="URL", help="Address of a REST. By default, that of the system that runs on HUB_DATA_DIR.")
@click.option("--api-key", envvar=_KEY, hidden=True, callback=_from_environment)
def publish(instrument: str, bid: str, ask: str, moment: datetime | None, url: str | None, api_key: str | None) -> None:
    """Publish the price BID ASK of INSTRUMENT.

    Clients receive it, and it is stored with the source `publish`. The environment variable
    TICKWIRE_API_KEY has the key, if REST needs one. The exit code is 1 if the price is refused.
    """
    price = {"instrument": instrument, "bid": bid, "ask": ask, **({"time": format_time(moment)} if moment else {})}
    with plain_errors():
        answer = _post(url or running_system(chosen_settings("publish")).rest, {"prices": [price]}, api_key)
    for each in answer["rejected"]:
        raise click.ClickException(f"{each['message']} ({each['code']})")
    click.echo(f"{instrument} {bid} {ask}: {'a duplicate, published in the last 15 minutes' if answer['duplicates'] else 'accepted'}")


def _post(url: str, body: dict[str, Any], api_key: str | None) -> dict[str, Any]:
    """Return the answer of REST. Raises `RunError`."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise click.BadParameter(f"{url!r} is not an address such as http://127.0.0.1:5000", param_hint="--url")
    headers = {"Content-Type": "application/json", **_credential(api_key)}
    status, text = running.send("POST", url, "/prices", json.dumps(body), headers, seconds=_SECONDS)
    if not status:
        raise running.RunError(no_connection(url, "REST"))
    return _read(url, status, text)


def _credential(text: str | None) -> dict[str, str]:
    """Return the header of a key or a JWT, which has two dots."""
    found = (text or "").strip()
    if not (found.isascii() and found.isprintable()) or " " in found:
        raise click.UsageError(f"{_KEY} is not a key")
    if not found:
        return {}
    return {"Authorization": f"Bearer {found}"} if found.count(".") == 2 else {"X-API-Key": found}


def _read(url: str, status: int, text: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(text)
        if status == 200:
            return {"rejected": list(answer["rejected"]), "duplicates": int(answer["duplicates"])}
        error = answer["error"]
        remedy = f"; set {_KEY}" if error["code"] == "unauthorized" else ""
        raise running.RunError(f"{error['message']} ({error['code']}){remedy}")
    except (ValueError, LookupError, TypeError):
        raise running.RunError(f"{url} answers HTTP {status}, but is not a REST of Tickwire") from None
