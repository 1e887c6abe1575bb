"""Reports of the example bot. They are in its state file until the hub has them.

The hub accepts a report once, so a bot that was killed sends those of its file again.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from tickwire_client import Client, Fill, Gap, Heartbeat, Order, RequestTimeout, Stream, Tick

STRATEGY = "mean_reversion"
HEARTBEAT_SECONDS = 15.0


class BotReports:
    """The reports of `bot`; without a name, none. `save` writes the state file with `saved()`."""

    def __init__(self, client: Client, bot: str | None, saved: dict[str, Any], save: Callable[[], None]) -> None:
        self.client, self.bot, self.save = client, bot, save
        self.count: int = saved.get("count", 0)  # of trades: the last number of ids
        self.waiting: list[dict[str, Any]] = saved.get("waiting", [])  # without an answer of the hub
        self.due = time.monotonic()  # of the next heartbeat

    def saved(self) -> dict[str, Any]:
        return {"count": self.count, "waiting": self.waiting}

    def beside(self, prices: Stream[Tick | Gap]) -> Iterator[Tick | Gap]:
        """Yield the prices, and send heartbeats in between."""
        if not self.bot:
            yield from prices
            return
        while True:
            if time.monotonic() >= self.due:
                self.due = time.monotonic() + HEARTBEAT_SECONDS
                self.send(Heartbeat(strategy=STRATEGY))
            item = prices.get(self.due - time.monotonic())
            if item is not None:
                yield item
            elif prices.closed:
                yield from prices  # ends, or raises the reason
                return

    def trade(self, tick: Tick, units: int) -> None:
        """Report a trade: the order, its fill, the filled order. Save them before they are sent."""
        if self.bot:
            self.count += 1
            number, price = self.count, tick.ask if units > 0 else tick.bid
            traded: Any = {
                "order_id": f"o-{number}",
                "symbol": tick.instrument,
                "side": "buy" if units > 0 else "sell",
                "quantity": abs(units),
            }
            order: Any = {"strategy": STRATEGY, "bot": self.bot, "order_type": "market", **traded}
            self.waiting += [
                Order(id=f"o-{number}-new", status="new", arrival_price=tick.mid, decision_price=tick.mid, **order).as_dict(),
                Fill(strategy=STRATEGY, bot=self.bot, fill_id=f"f-{number}", price=price, **traded).as_dict(),
                Order(id=f"o-{number}-filled", status="filled", time=datetime.now(UTC), **order).as_dict(),
            ]
        self.save()
        self.send()

    def send(self, *more: Heartbeat) -> None:
        """Send the waiting reports. Without an answer they wait for the next trade or heartbeat."""
        if not self.bot:
            return
        try:
            result = self.client.report(*self.waiting, *more)
        except RequestTimeout as late:
            print(late, flush=True)
            return
        for each in result.rejected:
            print(f"report {each['id']} was rejected: {each['message']}", flush=True)
        if self.waiting:
            self.waiting.clear()
            self.save()
