"""What a test asks the stand-in and tells it to do: `/_state`, `/_trades`, `/_control`."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

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
    }


def trades(exchange: Exchange, call: Call) -> Any:
    """`GET /_trades`: every trade that is to be had, whether it happened yet or not."""
    micro = "micro" in call.parameters
    return [
        (deal.symbol, deal.id, deal.moment(micro), deal.price, deal.quantity, deal.maker)
        for deals in exchange.market.deals.values()
        for deal in deals
        if (deal.symbol, deal.id) not in exchange.market.lost
    ]


def control(exchange: Exchange, call: Call) -> Any:
    """`POST /_control`"""
    asked = orjson.loads(call.body)
    do, streams = asked.pop("do"), exchange.streams
    if do in ("skip", "lose", "repeat", "reorder", "half"):
        _tamper(exchange, do, asked.get("count", 1), asked.get("symbol"))
    elif do == "refuse":
        which = exchange.refusals if asked.get("what", "rest") == "rest" else streams.refusals
        which.count, which.status, which.retry_after = asked.get("count", 1), asked.get("status", 503), asked.get("retry_after")
    elif do == "garbage":
        for text in [asked["text"].encode()] if "text" in asked else GARBAGE:
            streams.say(text)
    else:
        _act(exchange, do, asked)
    return {}


def _tamper(exchange: Exchange, do: str, count: int, symbol: str | None) -> None:
    kinds = {"skip": exchange.streams.skip, "lose": exchange.streams.skip, "repeat": exchange.streams.repeat}
    kinds |= {"reorder": exchange.streams.reorder, "half": exchange.streams.halve}
    for deals in exchange.market.next_deals(exchange.streams.position, count, symbol):
        kinds[do](deals)
        if do == "lose":
            exchange.market.lost |= {(deal.symbol, deal.id) for deal in deals}


def _act(exchange: Exchange, do: str, asked: dict[str, Any]) -> None:
    streams, loop = exchange.streams, asyncio.get_running_loop()
    if do in ("go", "pause"):
        streams.playing = do == "go"
    elif do == "jump":
        streams.jump(asked.get("position", -1))
    elif do == "speed":
        streams.speed = asked["speed"]
    elif do == "drop":
        streams.drop()
    elif do == "close":
        _keep(loop.create_task(streams.close(asked.get("code", 1001), asked.get("reason", ""))))
    elif do == "shutdown":
        _keep(loop.create_task(streams.announce_shutdown(asked.get("seconds", 0.5), asked.get("wrapped", True))))
    elif do in ("stall", "freeze"):
        streams.stall(do == "freeze")
        if "seconds" in asked:
            loop.call_later(asked["seconds"], streams.resume)
    elif do == "resume":
        streams.resume()
    elif do == "microseconds":
        streams.micro = asked.get("on", True)
    elif do == "repeat_pages":
        exchange.repeated_pages = asked.get("count", 1)
    elif do == "short_pages":
        exchange.short_pages, exchange.short_size = asked.get("count", 1), asked.get("size", 600)
    elif do == "bad_item":
        exchange.bad_items[asked["symbol"], asked["id"]] = asked["changes"]
    elif do == "series":
        exchange.market.begin_series(asked["symbol"], streams.position, asked.get("first_id", 0))
    elif do == "vanish":
        exchange.away = True
        loop.call_later(asked.get("seconds", 1.0), lambda: _return(exchange))
    else:
        raise ApiError(400, 0, f"no such misfortune: {do}")


def _return(exchange: Exchange) -> None:
    exchange.away = False


OURS = {"/_state": state, "/_trades": trades, "/_control": control}
_tasks: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
