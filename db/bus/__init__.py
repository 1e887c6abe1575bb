"""The bus: Redis as a log that also rings.

What a publish guarantees, per channel:

* one atomic step gives every message of the batch its `seq` and `epoch`, keeps the latest price of its instrument,
  appends it to a bounded stream and publishes it; either all of that happened, to the whole batch, or none of it;
* `seq` rises by one per (channel, topic), where the topic is the instrument, `A|B` for a correlation, or the data type;
  `epoch` stays as long as Redis keeps its data and is another after Redis has lost it;
* a batch published again under the same `batch_id` (because its answer was lost) is recognised and answered as before,
  for a day, as long as its publisher has not gone on to another batch;
* a price that was accepted stays in the stream until the store has it: `BusFull` is raised, and nothing accepted,
  rather than push an unstored one out. Beyond the unstored ones the stream keeps a tail for hubs that were away.

A consumer that was away subscribes first, walks the stream back to the last message it saw, then goes on with the
channel and drops what it has already seen. Foreign programs may `PUBLISH` on the channels directly: subscribers get those messages
as they are, without `seq`; they are in no stream, so nobody can catch up on them and they are not stored.

Nothing here raises `redis.RedisError`: it becomes `BusError`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from db import topics
from db.bus.subscription import BusError as BusError
from db.bus.subscription import Subscription as Subscription
from db.bus.subscription import translated
from db.decimals import is_decimal
from db.messages import Entry, Stamp, Tick, Trade, TradeLines, trade_lines
from db.timestamps import format_time

CHUNK = 500  # messages in one script call: Redis serves nobody else meanwhile
TAIL = 20_000  # entries a stream keeps for hubs, whatever is stored
_RECEIPT_SECONDS = 86_400
_PUBLISH_LUA = (Path(__file__).parent / "publish.lua").read_text()
_APPEND_LUA = (Path(__file__).parent / "append.lua").read_text()
_FORGET_LUA = (Path(__file__).parent / "forget.lua").read_text()
_ACKNOWLEDGE_LUA = (Path(__file__).parent / "acknowledge.lua").read_text()
TRADES_AT_ONCE = 5_000  # in one entry of the trades' stream
_CHANGES = 1_000  # of the sources' states that the bus remembers


class BusFull(BusError):
    """The store is too far behind: nothing was accepted, try again later."""


class Bus:
    """One connection pool to the bus. Safe to share between threads.

    `clock` stamps what is published; `limit` is the most unstored prices the stream may hold.
    """

    def __init__(self, url: str, clock: Callable[[], datetime], *, limit: int = 500_000, timeout: float = 5.0) -> None:
        self._clock = clock
        self._limit = limit
        # redis-py types every answer as what any of its settings could make of it.
        self._redis: Any = redis.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # a repeat is the caller's to decide: only a batch_id makes it safe,
        )

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()

    def ping(self) -> None:
        """Raise `BusError` unless the bus answers."""
        with translated():
            self._redis.ping()

    # publishing

    def publish_prices(self, ticks: Sequence[Tick], batch_id: str | None = None) -> list[Stamp]:
        """Publish a batch of prices in one round trip, in order.

        `batch_id` is `PUBLISHER/NUMBER`, the publisher a name of its own and its batches sent one after the other. With
        it, a batch that failed may be sent again whatever the failure was; without it a repeat may publish twice.
        Raises `BusFull` (nothing beyond what a repeat would skip was accepted) or `BusError`.
        """
        if batch_id is not None and "/" not in batch_id:
            raise ValueError("batch_id is PUBLISHER/NUMBER")
        stamp = format_time(self._clock())
        messages = [(tick.instrument, _price_body(tick, stamp), tick.source, tick.volume or "") for tick in ticks]
        return self._publish(topics.PRICES, messages, batch_id)

    def cache_price(
        self, instrument: str, *, bid: str | Decimal, ask: str | Decimal, mid: str | Decimal, time: str | datetime, source: str = "job"
    ) -> Stamp:
        """Publish one price on `price_updates`; it becomes the instrument's latest."""
        moment = time if isinstance(time, str) else format_time(time)
        return self.publish_prices([Tick(instrument, _decimal(bid), _decimal(ask), _decimal(mid), moment, source)])[0]

    def publish_volatility_alert(
        self,
        instrument: str,
        volatility: float,
        *,
        threshold: float,
        severity: str,
        message: str | None = None,
        batch_id: str | None = None,
    ) -> Stamp:
        """Publish on `volatility_alerts`; `severity` is `warning` or `critical`, the figures are fractions (0.025 = 2.5 %).

        Under a `batch_id` it may be sent again, as of `publish_prices`.
        """
        body = {
            "instrument": instrument,
            "volatility": volatility,
            "threshold": threshold,
            "severity": severity,
            "message": message or f"{instrument} volatility {volatility:.2%} is above the {severity} threshold {threshold:.2%}",
        }
        return self._publish_one(topics.VOLATILITY_ALERTS, instrument, body, batch_id)

    def publish_correlation_alert(
        self,
        instrument1: str,
        instrument2: str,
        correlation: float,
        *,
        previous: float,
        threshold: float,
        severity: str,
        message: str | None = None,
        batch_id: str | None = None,
    ) -> Stamp:
        """Publish on `correlation_alerts`: the correlation moved from `previous` by more than `threshold` (absolute).

        Under a `batch_id` it may be sent again, as of `publish_prices`.
        """
        body = {
            "instrument1": instrument1,
            "instrument2": instrument2,
            "correlation": correlation,
            "previous_correlation": previous,
            "change": correlation - previous,
            "threshold": threshold,
            "severity": severity,
            "message": message or f"{instrument1}/{instrument2} correlation went from {previous:+.2f} to {correlation:+.2f}",
        }
        return self._publish_one(topics.CORRELATION_ALERTS, f"{instrument1}|{instrument2}", body, batch_id)

    def publish_data_ready(self, data_type: str, instruments: Sequence[str], as_of: datetime) -> Stamp:
        """Publish on `data_ready`: `data_type` (`hourly_candles`, `volatility`, `correlation_matrix`) is stored up to `as_of`."""
        body = {"data_type": data_type, "instruments": list(instruments), "as_of": format_time(as_of)}
        return self._publish_one(topics.DATA_READY, data_type, body)

    def publish_candles(self, candles: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
        """Publish (instrument, interval, candle) on `candle_updates`, in order; `candle` is what `/candles` gives of it."""
        stamp = format_time(self._clock())
        messages = [
            (
                topics.candle_topic(instrument, interval),
                orjson.dumps({"instrument": instrument, "interval": interval, "candle": candle, "timestamp": stamp})[:-1],
                "",
                "",
            )
            for instrument, interval, candle in candles
        ]
        self._publish(topics.CANDLES, messages, None)

    def publish_trades(self, trades: Sequence[Trade], batch_id: str) -> None:
        """Hand trades to the store, in order: they ring nowhere. `batch_id` and errors as of `publish_prices`."""
        publisher, _, number = batch_id.rpartition("/")
        calls = []
        for start in range(0, len(trades), TRADES_AT_ONCE):
            part = trades[start : start + TRADES_AT_ONCE]
            keys = [
                topics.stream_key(topics.TRADES),
                topics.count_key(topics.TRADES),
                topics.receipt_key(f"{publisher}:{topics.TRADES}", start),
            ]
            calls.append((keys, [self._limit, number, _RECEIPT_SECONDS, len(part), trade_lines(part)]))
        if not all(self._run_scripts(_APPEND_LUA, calls)):
            raise BusFull(f"{topics.TRADES}: {self._limit} trades wait to be stored")

    def _publish_one(self, channel: str, topic: str, body: dict[str, Any], batch_id: str | None = None) -> Stamp:
        open_body = orjson.dumps({**body, "timestamp": format_time(self._clock())})[:-1]
        return self._publish(channel, [(topic, open_body, "", "")], batch_id)[0]

    def _publish(self, channel: str, messages: Sequence[tuple[str, bytes, str, str]], batch_id: str | None) -> list[Stamp]:
        calls = [
            self._publish_call(channel, messages[start : start + CHUNK], batch_id or "", start) for start in range(0, len(messages), CHUNK)
        ]
        answers = self._run_scripts(_PUBLISH_LUA, calls)
        if any(not answer for answer in answers):
            raise BusFull(f"{channel}: {self._limit} messages wait to be stored")
        return [Stamp(answer[0].decode(), seq) for answer in answers for seq in answer[1:]]

    def _publish_call(
        self, channel: str, messages: Sequence[tuple[str, bytes, str, str]], batch_id: str, part: int
    ) -> tuple[list[str], list[Any]]:
        prices = channel == topics.PRICES
        publisher, _, number = batch_id.rpartition("/")
        keys = [
            topics.EPOCH_KEY,
            topics.seq_key(channel),
            topics.stream_key(channel),
            topics.LATEST_KEY,
            topics.count_key(channel),
            topics.receipt_key(publisher, part),
            *(topics.seq_key(each) for each in topics.CHANNELS),
        ]
        options = [channel, uuid.uuid4().hex[:12], TAIL, self._limit if prices else 0, int(prices), number, _RECEIPT_SECONDS]
        return keys, [*options, *(field for message in messages for field in message)]

    def _run_scripts(self, lua: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        """Run one script once per call, in one round trip; load it first where Redis does not have it."""
        if not calls:
            return []
        script = self._redis.register_script(lua)
        with translated():
            try:
                return self._pipeline(script.sha, calls)
            except redis.exceptions.NoScriptError:
                self._redis.script_load(lua)
                return self._pipeline(script.sha, calls)

    def _pipeline(self, sha: str, calls: Sequence[tuple[list[str], list[Any]]]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for keys, arguments in calls:
            pipe.evalsha(sha, len(keys), *keys, *arguments)
        return list(pipe.execute())

    # reading

    def latest_prices(self, instruments: Iterable[str] | None = None) -> dict[str, bytes]:
        """The latest `price_update` body of each instrument that has one: of all, or of those named."""
        with translated():
            if instruments is None:
                return {topic.decode(): body for topic, body in self._redis.hgetall(topics.LATEST_KEY).items()}
            names = list(instruments)
            bodies = self._redis.hmget(topics.LATEST_KEY, names) if names else []
            return {name: body for name, body in zip(names, bodies, strict=True) if body is not None}

    def latest_times(self, instruments: Iterable[str]) -> dict[str, str]:
        """instrument -> time of its latest price, as the source gave it; of those named, those that have one."""
        return {name: orjson.loads(body)["price"]["time"] for name, body in self.latest_prices(instruments).items()}

    def backwards(self, channel: str, chunk: int = 1000) -> Iterator[Entry]:
        """The messages of the channel's stream from the last to the first, read as they are asked for."""
        end: bytes | str = "+"
        while True:
            with translated():
                items = self._redis.xrevrange(topics.stream_key(channel), max=end, count=chunk)
            yield from (Entry.of(*item) for item in items)
            if len(items) < chunk:
                return
            end = b"(" + items[-1][0]

    def subscribe(self, channels: Sequence[str] = topics.CHANNELS) -> Subscription:
        """Subscribe; once this returns, every message published from now on will be read from the subscription."""
        with translated():
            return Subscription(self._redis.connection_pool.make_connection(), channels)

    # the store's side

    def open_group(self, channel: str) -> None:
        """Make the store's consumer group on the stream, from its beginning, unless it is there."""
        with translated():
            try:
                self._redis.xgroup_create(topics.stream_key(channel), topics.WRITER_GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def read_unstored(self, channel: str, count: int, wait_ms: int, *, again: bool = False) -> list[Entry]:
        """The next entries for the store, waiting up to `wait_ms` for the first (0: not at all).

        `again` gives those that were handed out before and never acknowledged. One consumer name serves whoever writes:
        a writer that takes over inherits exactly what its predecessor left.
        """
        return [Entry.of(*item) for item in self._read_group(channel, count, wait_ms, again=again)]

    def _read_group(self, channel: str, count: int, wait_ms: int, *, again: bool) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        with translated():
            answer = self._redis.xreadgroup(
                topics.WRITER_GROUP,
                "writer",
                {topics.stream_key(channel): "0" if again else ">"},
                count=count,
                block=None if again or wait_ms <= 0 else wait_ms,
            )
        return [item for _, items in answer or [] for item in items if item[1]]

    def read_unstored_trades(self, count: int, wait_ms: int, *, again: bool = False) -> list[TradeLines]:
        """As `read_unstored`, of the trades' stream: up to `count` entries, each of up to `TRADES_AT_ONCE` trades."""
        return [
            TradeLines(entry_id, int(fields[b"trades"]), fields[b"lines"])
            for entry_id, fields in self._read_group(topics.TRADES, count, wait_ms, again=again)
        ]

    def acknowledge(self, channel: str, ids: Sequence[bytes]) -> int:
        """Say that these entries are stored; how many of them were not yet acknowledged."""
        keys = [topics.stream_key(channel), topics.count_key(channel)]
        return int(self._run_scripts(_ACKNOWLEDGE_LUA, [(keys, [topics.WRITER_GROUP, *ids])])[0]) if ids else 0

    def forget_trades(self, entries: Sequence[TradeLines]) -> int:
        """Say that these entries are stored, and delete them, for only the store reads them; how many trades were not yet acknowledged."""
        keys = [topics.stream_key(topics.TRADES), topics.count_key(topics.TRADES)]
        fields = [field for entry in entries for field in (entry.id, entry.trades)]
        return int(self._run_scripts(_FORGET_LUA, [(keys, [topics.WRITER_GROUP, *fields])])[0]) if entries else 0

    def unstored(self, channel: str = topics.PRICES) -> int:
        """How many accepted messages the store does not hold yet."""
        published, stored = self.counts(channel)
        return published - stored

    def counts(self, channel: str = topics.PRICES) -> tuple[int, int]:
        """How many messages were accepted so far, and how many the store was told to hold; both from 0 where Redis has lost its data."""
        with translated():
            published, stored = self._redis.hmget(topics.count_key(channel), ["published", "stored"])
        return int(published or 0), int(stored or 0)

    # who may act

    def claim_leadership(self, token: str) -> None:
        """Say that the jobs process of this token is the active one."""
        with translated():
            self._redis.set(topics.LEADER_KEY, token)

    def leader(self) -> str | None:
        """The token of the jobs process that was active last; None where nobody said so."""
        with translated():
            found = self._redis.get(topics.LEADER_KEY)
        return None if found is None else found.decode()

    # what the sources say of themselves

    def report_source(self, name: str, state: Mapping[str, Any]) -> None:
        """Tell health how a source is doing; the report carries the time it was made as `reported`."""
        with translated():
            self._redis.hset(topics.SOURCES_KEY, name, orjson.dumps({**state, "reported": format_time(self._clock())}))

    def note_source_change(self, name: str, state: str, detail: str | None) -> None:
        """Publish that a source entered `state` on the channel `source_states`, and keep it among the last thousand changes."""
        body = orjson.dumps({"source": name, "state": state, "detail": detail, "timestamp": format_time(self._clock())})
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.xadd(topics.stream_key(topics.SOURCE_STATES), {"body": body}, maxlen=_CHANGES)
            pipe.publish(topics.SOURCE_STATES, body)
            pipe.execute()

    def source_changes(self) -> list[dict[str, Any]]:
        """The last changes of the sources' states, oldest first."""
        with translated():
            return [orjson.loads(fields[b"body"]) for _, fields in self._redis.xrange(topics.stream_key(topics.SOURCE_STATES))]

    def forget_sources(self) -> None:
        """Drop every report: a new process speaks for other sources than the last."""
        with translated():
            self._redis.delete(topics.SOURCES_KEY)

    def sources(self) -> dict[str, dict[str, Any]]:
        """The last report of each source."""
        with translated():
            return {name.decode(): orjson.loads(state) for name, state in self._redis.hgetall(topics.SOURCES_KEY).items()}


def _price_body(tick: Tick, timestamp: str) -> bytes:
    price = {"bid": tick.bid, "ask": tick.ask, "mid": tick.mid, "time": tick.time}
    return orjson.dumps({"instrument": tick.instrument, "price": price, "timestamp": timestamp})[:-1]


def _decimal(value: str | Decimal) -> str:
    text = value if isinstance(value, str) else format(value, "f")
    if not is_decimal(text):
        raise ValueError(f"{value} is not a price")
    return text
