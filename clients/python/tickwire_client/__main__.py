"""`python -m tickwire_client watch EUR_USD GBP_USD`: print live prices.

A table on a terminal, else one line of text per price, or JSON lines.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from decimal import Decimal
from functools import partial
from itertools import islice
from types import FrameType
from typing import NoReturn

from tickwire_client.client import DEFAULT_URL, Client
from tickwire_client.errors import ConnectionFailed, TickwireError, Unauthorized
from tickwire_client.messages import Connected, Disconnected, Gap, Tick
from tickwire_client.table import PriceTable

_KEY = "TICKWIRE_API_KEY"
DEFAULT_PAIRS = ("EUR_USD", "GBP_USD", "USD_JPY", "BTCUSDT", "AAPL")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0: ended by the user, by `--count` or by a closed pipe; 1: the hub is unreachable or refuses the
    request or the credential; 2: wrong arguments.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _watch(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # the reader of the pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Unauthorized as error:
        print(f"{str(error).rstrip('.')}: set {_KEY} to a valid key or token", file=sys.stderr)
        return 1
    except ConnectionFailed as error:
        print(error if error.code else f"{error}: --url names another hub", file=sys.stderr)
        return 1
    except TickwireError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tickwire_client", description="Command-line client of the Tickwire market-data hub.")
    watch = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "watch",
        help="print live prices: a table on a terminal, else lines",
        epilog=f"The environment variable {_KEY} has the key or token, if the hub needs one.",
    )
    watch.add_argument(
        "pairs",
        nargs="*",
        metavar="INSTRUMENT",
        help=f'such as EUR_USD; "all" for all instruments (default: {" ".join(DEFAULT_PAIRS)}; all that the key permits, if it is limited)',
    )
    watch.add_argument("--url", default=DEFAULT_URL, help="address of the hub (default: %(default)s)")
    watch.add_argument(
        "--json", action="store_true", help='print one JSON object per line: a price_update body, or {"gap": …} for missing messages'
    )
    watch.add_argument("--max-rate", type=float, metavar="HZ", help="limit prices per second and instrument")
    watch.add_argument("--count", type=int, metavar="N", help="exit after N lines")
    return parser


def _watch(options: argparse.Namespace) -> None:
    as_table = sys.stdout.isatty() and not options.json and options.count is None
    formatter = _Formatter(options.json)
    with _client(options.url) as client:
        pairs = options.pairs or default_pairs(client.available_pairs)
        table = PriceTable(pairs, sys.stdout) if as_table else None
        client.on_disconnect(partial(_report, table))
        client.on_connect(partial(_report, table))
        stream = client.prices(*pairs, max_rate=options.max_rate, gaps=True)
        if table is not None:
            table.show(stream)
            return
        for item in islice(stream, options.count):
            print(formatter.line(item), flush=True)


def default_pairs(available: Sequence[str]) -> Sequence[str]:
    """The instruments to show if none is named: `DEFAULT_PAIRS`, or all if some are not available.

    Raises `TickwireError` if the credential may read none.
    """
    if not available:
        raise TickwireError("The hub has no instrument that this credential may read.")
    return DEFAULT_PAIRS if set(DEFAULT_PAIRS) <= set(available) else ("all",)


def _client(url: str) -> Client:
    try:
        return Client(url, auth=os.environ.get(_KEY) or None)
    except ValueError as error:
        print(f"{error} (from {_KEY} or --url)", file=sys.stderr)
        sys.exit(2)


def _report(table: PriceTable | None, change: Connected | Disconnected) -> None:
    text = None
    if isinstance(change, Disconnected) and change.reconnecting:
        text = f"{change.reason}; reconnecting"
    elif isinstance(change, Connected) and change.again:
        text = "connected again"
    if text is None:
        return
    if table is None:
        print(text, file=sys.stderr)
    else:
        table.note(text)


class _Formatter:
    """Formats items as lines: text with the direction of the mid price, or JSON."""

    def __init__(self, as_json: bool) -> None:
        self._json = as_json
        self._last: dict[str, Decimal] = {}  # instrument -> mid

    def line(self, item: Tick | Gap) -> str:
        if isinstance(item, Gap):
            gap = {"instrument": item.instrument, "missed": item.missed, "reason": item.reason}
            missed = "some" if item.missed is None else item.missed
            return (
                json.dumps({"gap": gap}) if self._json else f"{'':15} {item.instrument:<10} {missed} messages are missing ({item.reason})"
            )
        if self._json:
            return json.dumps(item.as_dict())
        last = self._last.get(item.instrument, item.mid)
        self._last[item.instrument] = item.mid
        direction = "▲" if item.mid > last else "▼" if item.mid < last else " "
        return f"{item.time:%H:%M:%S.%f} {item.instrument:<10} {item.bid:>14f} {item.ask:>14f} {direction}"


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
