"""The stand-in's routes for tests: `/_state`, `/_trades`, `/_depth`, `/_control`."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.standins.binance_depth import SnapshotFault, altered
from tests.standins.binance_exchange import ApiError, Call, Exchange
from tests.standins.binance_streams import GARBAGE


def state(exchange: Exchange, call: Call) -> Any:
    """`GET /_state`"""
    streams, position = exchange.streams, exchange.streams.position
    return {
        "position": position,
        "length": len(exchange.market.entries),
        "ended": position >= len(exchange.market.entries),
        "playing": streams.playing,
        "connections": len(streams.links),
        "delivered": all(link.cursor >= position for link in streams.links),
        "streams": sorted("/".join(sorted(link.wanted)) for link in streams.links),
        "answered_pings": sum(link.connection.latency > 0 for link in streams.links),
        "handshakes": streams.handshakes,
        "sent": streams.sent,
        "requests": exchange.requests,
        "trades": {symbol: len(exchange.market.traded(symbol, position)) for symbol in exchange.market.deals},
        "lost": sorted(exchange.market.lost),
        "snapshots": exchange.depth.asked,
    }


def trades(exchange: Exchange, call: Call) -> Any:
    """`GET /_trades`: every available trade, past or future."""
    micro = "micro" in call.parameters
    return [
        (deal.symbol, deal.id, deal.moment(micro), deal.price, deal.quantity, deal.maker)
        for deals in exchange.market.deals.values()
        for deal in deals
        if (deal.symbol, deal.id) not in exchange.market.lost
    ]


def control(exchange: Exchange, call: Call) -> Any:
    """`POST /_control`"""
    command = orjson.loads(call.body)
    do, streams = command.pop("do"), exchange.streams
    if do in ("skip", "lose", "repeat", "reorder", "half", "alter"):
        _tamper(exchange, do, command.get("count", 1), command.get("symbol"), command.get("kind", "trade"))
    elif do == "refuse":
        refusals = {"rest": exchange.refusals, "depth": exchange.depth_refusals, "handshake": streams.refusals}[command.get("what", "rest")]
        refusals.count, refusals.status, refusals.retry_after = (
            command.get("count", 1),
            command.get("status", 503),
            command.get("retry_after"),
        )
    elif do == "garbage":
        for text in [command["text"].encode()] if "text" in command else GARBAGE:
            streams.send_text(text)
    else:
        _act(exchange, do, command)
    return {}


def _tamper(exchange: Exchange, do: str, count: int, symbol: str | None, kind: str) -> None:
    streams, market = exchange.streams, exchange.market
    if do == "lose":
        if kind != "trade":
            raise ApiError(400, 0, "REST has the book after every diff: skip one instead")
        market.lost |= {(deal.symbol, deal.id) for deals in market.next_deals(streams.position, count, symbol) for deal in deals}
    tamper = {"skip": streams.skip, "lose": streams.skip, "repeat": streams.repeat, "reorder": streams.reorder, "half": streams.halve}
    for places in market.next_places(kind, streams.position, count, symbol):
        if do == "alter":
            for place in places:
                streams.replace(place, altered(market.entries[place].body))
        else:
            tamper[do](places)


def _act(exchange: Exchange, do: str, command: dict[str, Any]) -> None:
    streams, loop = exchange.streams, asyncio.get_running_loop()
    if do in ("go", "pause"):
        streams.playing = do == "go"
    elif do == "jump":
        streams.jump(command.get("position", -1))
    elif do == "speed":
        streams.speed = command["speed"]
    elif do == "drop":
        streams.drop()
    elif do == "close":
        _keep(loop.create_task(streams.close(command.get("code", 1001), command.get("reason", ""))))
    elif do == "shutdown":
        _keep(loop.create_task(streams.announce_shutdown(command.get("seconds", 0.5), command.get("wrapped", True))))
    elif do in ("stall", "freeze"):
        streams.stall(do == "freeze")
        if "seconds" in command:
            loop.call_later(command["seconds"], streams.resume)
    elif do == "resume":
        streams.resume()
    elif do == "microseconds":
        streams.micro = command.get("on", True)
    elif do == "repeat_pages":
        exchange.repeated_pages = command.get("count", 1)
    elif do == "short_pages":
        exchange.short_pages, exchange.short_size = command.get("count", 1), command.get("size", 600)
    elif do == "bad_item":
        exchange.bad_items[command["symbol"], command["id"]] = command["changes"]
    elif do == "series":
        exchange.market.begin_series(command["symbol"], streams.position, command.get("first_id", 0))
    elif do == "snapshot":
        exchange.depth.add_fault(command.pop("symbol", None), command.pop("count", 1), SnapshotFault(**command))
    elif do == "weight":
        exchange.used_weight = command.get("used")
    elif do == "vanish":
        exchange.away.set()
        loop.call_later(command.get("seconds", 1.0), lambda: _return(exchange))
    else:
        raise ApiError(400, 0, f"unknown command: {do}")


def _return(exchange: Exchange) -> None:
    exchange.away.clear()


def depth(exchange: Exchange, call: Call) -> Any:
    """`GET /_depth`: id and best levels of a book at the present position."""
    return exchange.depth.top(call.parameters["symbol"], call.number("levels") or 20, exchange.streams.position)


CONTROL_ROUTES = {"/_state": state, "/_trades": trades, "/_depth": depth, "/_control": control}
_tasks: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
