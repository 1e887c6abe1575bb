"""The cost of client alerts per price: without rules on its instrument, and with 100,000.

Part of `python -m tests.bench analytics`. It measures the added CPU time from the decoded message
to the write of the alert (to `/dev/null` instead of a socket). The best of several rounds counts,
because other programs only add to the time.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from functools import partial

import orjson

from api.hub.alerts.notifier import AlertNotifier
from api.hub.alerts.rules import MAX_RULES_PER_CLIENT, Rule, RuleIndex
from api.hub.fanout import Fanout
from api.hub.messages import Message, decode
from api.hub.schemas.requests import OPERATORS, PRICE
from api.hub.transport.outbox import Outbox
from db import topics
from tests.bench.report import table

LABELS = {
    "decode_us": "for comparison: decoding a price, µs",
    "no_rules_us": "a price of an instrument without rules, µs",
    "none_fire_us": "a price that fires none, µs",
    "few_fire_us": "a price that fires a few, µs",
    "fired_per_price": "… so many",
    "jump_ms": "one price that passes all and fires two thirds, ms",
    "set_us": "set and delete one more rule, µs",
    "leave_ms": f"a client leaves with its {MAX_RULES_PER_CLIENT:,} rules, ms",
}
_TIME = "2025-11-18T12:00:00.000000Z"
_NAME = "EUR_USD"
_TICKS, _ROUNDS = 2_000, 7
_STEP = Decimal("0.00001")  # from one threshold to the next; the first is 1
_UNDER_ALL, _OVER_ALL = "0.9", "99"


class _Owner:
    def blocked(self) -> None:
        raise AssertionError("/dev/null takes everything")

    queued = overflowed = broken = blocked


def measure(rules: int = 100_000) -> dict[str, float]:
    """Return the figures of `LABELS` for `rules` rules on one instrument.

    Each operator has a third of the rules. A rule stays after it fires.
    """
    with _clients(rules) as fanout:
        index = _filled(rules)
        notifier = AlertNotifier(index, fanout, lambda: _TIME)
        without = AlertNotifier(RuleIndex(), fanout, lambda: _TIME)
        centre = _centre(rules)
        quiet, moving = _prices(_walk(centre, _STEP / 10, most=4)), _prices(_walk(centre, _STEP, most=50))
        low, high = _prices([_UNDER_ALL, _OVER_ALL])
        notifier.price(quiet[0])  # from here on, every rule has a previous price
        figures = {
            "decode_us": _each(quiet, lambda message: decode(topics.PRICES, message.body, {_NAME})),
            "no_rules_us": _each(quiet, without.price),
            "none_fire_us": _each(quiet, notifier.price),
            "few_fire_us": _each(moving, notifier.price),
            "fired_per_price": sum(len(index.observe((_NAME, PRICE), message.data["price"]["mid"])) for message in moving) / _TICKS,
        }
        jumps = [_cpu_us(partial(notifier.price, message)) for _ in range(5) for message in (low, high)]
        figures["jump_ms"] = min(jumps[1::2]) / 1000
        figures["set_us"] = min(_cpu_us(partial(_set_and_delete, index, _rule(rules // 2), number)) for number in range(rules, rules + 200))
        figures["leave_ms"] = min(_cpu_us(partial(index.clear, client)) for client in fanout.clients()[:3]) / 1000
    return figures


@contextmanager
def _clients(rules: int) -> Iterator[Fanout]:
    """Yield a fan-out with enough clients for the rules."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        fanout = Fanout(time.monotonic, lambda *_: None)
        for number in range(-(-rules // MAX_RULES_PER_CLIENT)):
            box = Outbox(_Owner(), 2**20)
            box.open(lambda data: os.write(null, data))
            fanout.add(f"client-{number}", box)
        yield fanout
    finally:
        os.close(null)


def _filled(rules: int) -> RuleIndex:
    index = RuleIndex()
    for number in random.Random(1).sample(range(rules), rules):
        index.add(_rule(number), _centre(rules))
    return index


def _centre(rules: int) -> Decimal:
    """Return a price between the two thresholds in the middle."""
    return 1 + (rules // 2 + Decimal("0.5")) * _STEP


def _rule(number: int) -> Rule:
    threshold = 1 + number * _STEP
    client, op = f"client-{number // MAX_RULES_PER_CLIENT}", OPERATORS[number % 3]
    return Rule(f"0a1b2c-{number}", number, client, (_NAME, PRICE), op, str(threshold), threshold, once=False)


def _set_and_delete(index: RuleIndex, like: Rule, number: int) -> None:
    index.add(replace(like, id="more", number=number, client="other"), None)
    index.delete("other", "more")


def _walk(centre: Decimal, step: Decimal, most: int) -> list[str]:
    """Return mids of a random walk by `step`, at most `most` steps from the centre."""
    draw = random.Random(2)
    place, mids = 0, []
    for _ in range(_TICKS):
        place = max(-most, min(most, place + draw.choice((-3, -2, -1, 1, 2, 3))))
        mids.append(str(centre + place * step))
    return mids


def _prices(mids: Sequence[str]) -> list[Message]:
    return [decode(topics.PRICES, _body(mid, seq), {_NAME}) for seq, mid in enumerate(mids, start=1)]


def _body(mid: str, seq: int) -> bytes:
    price = {"bid": mid, "ask": mid, "mid": mid, "time": _TIME}
    return orjson.dumps({"instrument": _NAME, "price": price, "timestamp": _TIME, "seq": seq, "epoch": "b02494e1c361"})


def _each(messages: Sequence[Message], work: Callable[[Message], object]) -> float:
    """Return the CPU time in µs per message."""

    def run() -> None:
        for message in messages:
            work(message)

    return min(_cpu_us(run) for _ in range(_ROUNDS)) / len(messages)


def _cpu_us(work: Callable[[], object]) -> float:
    started = time.process_time_ns()
    work()
    return (time.process_time_ns() - started) / 1000


def text() -> str:
    """Return a table with the figures of 1,000 and 100,000 rules."""
    many, some = measure(), measure(1_000)
    rows = [[label, f"{some[key]:.2f}", f"{many[key]:.2f}"] for key, label in LABELS.items()]
    return table([["client alert rules on one instrument", "1,000", "100,000"], *rows])
