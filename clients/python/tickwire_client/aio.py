"""Asyncio client: the methods of the blocking client as coroutines and asynchronous iterators.

The blocking client and its threads keep the connection, so a busy event loop misses no heartbeat.
Nothing here blocks the event loop. Handlers and iterators run in the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from decimal import Decimal
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, overload

from tickwire_client.aio_history import AsyncHistory
from tickwire_client.book_chain import BookTopic
from tickwire_client.book_messages import Book, BookState
from tickwire_client.client import DEFAULT_URL, Client, Since
from tickwire_client.credentials import Credential
from tickwire_client.handlers import Handler, Handlers
from tickwire_client.messages import Alert, AlertItem, Body, CandleUpdate, Gap, Item, MetricsSnapshot, Quote, Tick
from tickwire_client.observing import Acknowledgement
from tickwire_client.publishing import PublishResult
from tickwire_client.reports import OpenPosition, Report, ReportResult
from tickwire_client.rest import Moment, resolve_time
from tickwire_client.session import CandleSeries
from tickwire_client.stitch import Stitch
from tickwire_client.stream import Stream

ItemT = TypeVar("ItemT", bound=Item)
ResultT = TypeVar("ResultT")
AsyncSource = Callable[[], Credential | Awaitable[Credential | None] | None]
AsyncAuth = Credential | AsyncSource | None
_ITEMS_PER_YIELD = 100  # a stream with a backlog yields to the event loop after so many items
_ITEMS_PER_BATCH = 500  # read from the history at a time


class AsyncStream(Generic[ItemT], AsyncIterator[ItemT]):
    """Asynchronous iterator over a `Stream`. Subscribes at its first step.

    `await anext(…)` may be cancelled.
    """

    def __init__(self, begin: Callable[[], Awaitable[Stream[ItemT]]]) -> None:
        self._begin = begin
        self._stream: Stream[ItemT] | None = None
        self._available = asyncio.Event()
        self._given = 0  # items since the last yield

    async def begin(self) -> Stream[ItemT]:
        """Subscribe, unless this was done before."""
        if self._stream is None:
            loop = asyncio.get_running_loop()
            self._stream = await self._begin()
            self._stream.wake_with(lambda: _in_loop(loop, self._available.set))
        return self._stream

    async def __anext__(self) -> ItemT:
        stream = await self.begin()
        while True:
            if self._given == _ITEMS_PER_YIELD:
                self._given = 0
                await asyncio.sleep(0)  # before an item is taken: a cancelled step must lose none
            closed, item = stream.closed, stream.take()
            if item is not None:
                self._given += 1
                return item
            if closed:
                raise stream.error or StopAsyncIteration
            # `set` is called in this event loop, so it cannot run between `take` and `clear`.
            self._available.clear()
            await self._available.wait()

    def close(self) -> None:
        """Stop receiving. Buffered items can still be read."""
        if self._stream is not None:
            self._stream.close()


class AsyncClient(AsyncHistory, Handlers):
    """See `Client`. Handlers (`on_…`) are functions or coroutines, run in the event loop.

    `auth` may be a coroutine function, which runs in the event loop. Another function runs in a
    thread, so it may block.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        rest_url: str | None = None,
        *,
        timeout: float = 10.0,
        transports: Sequence[str] = ("websocket",),
        buffer: int = 100_000,
        reconnect_delay: tuple[float, float] = (0.5, 5.0),
        auth: AsyncAuth = None,
        bot: str | None = None,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        options: dict[str, Any] = {"timeout": timeout, "transports": transports, "buffer": buffer, "reconnect_delay": reconnect_delay}
        source = partial(self._credential, auth, timeout) if callable(auth) else auth
        self._client = Client(url, rest_url, auth=source, bot=bot, **options)
        AsyncHistory.__init__(self, self._client)
        self._tasks: set[asyncio.Task[Any]] = set()  # running handlers; references keep them alive

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client.url!r})"

    def _credential(self, source: AsyncSource, timeout: float) -> Credential | None:
        """Call the function `auth` in this thread; its coroutine runs in the event loop."""
        result = source()
        if not inspect.isawaitable(result):
            return result
        if self._loop is None:
            raise RuntimeError("no event loop runs")
        future = asyncio.run_coroutine_threadsafe(_awaited(result), self._loop)
        try:
            return future.result(timeout)
        except FutureTimeout:
            future.cancel()
            raise RuntimeError(f"it did not return within {timeout:g} s") from None

    async def _run(self, call: Callable[..., ResultT], *arguments: Any, **options: Any) -> ResultT:
        self._loop = asyncio.get_running_loop()
        return await super()._run(call, *arguments, **options)

    async def connect(self) -> Self:
        """Connect, or raise `ConnectionFailed`."""
        await self._run(self._client.connect)
        return self

    async def close(self) -> None:
        """Disconnect. Iterators end after their buffered items."""
        await self._run(self._client.close)
        self._pool.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        try:
            return await self.connect()
        except BaseException:
            self._pool.shutdown(wait=False)
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    @property
    def connected(self) -> bool:
        return self._client.connected

    @property
    def available_pairs(self) -> tuple[str, ...]:
        """See `Client.available_pairs`."""
        return self._client.available_pairs

    def _add(self, kind: type[Item], handler: Handler) -> None:
        def schedule(item: Item) -> None:
            if self._loop is not None:
                _in_loop(self._loop, self._handle, handler, item)

        self._client._add(kind, schedule)

    def _handle(self, handler: Callable[[Item], object], item: Item) -> None:
        result = handler(item)
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(result)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    # streams

    @overload
    def prices(self, *pairs: str, max_rate: float | None = ..., since: Since = ..., gaps: Literal[True]) -> AsyncStream[Tick | Gap]: ...
    @overload
    def prices(self, *pairs: str, max_rate: float | None = ..., since: Since = ..., gaps: Literal[False] = ...) -> AsyncStream[Tick]: ...
    def prices(self, *pairs: str, max_rate: float | None = None, since: Since = None, gaps: bool = False) -> AsyncStream[Any]:
        """See `Client.prices`."""
        return AsyncStream(lambda: self._run(self._client.prices, *pairs, max_rate=max_rate, since=since, gaps=gaps))

    def candle_updates(self, *candles: CandleSeries, gaps: bool = False) -> AsyncStream[CandleUpdate | Gap]:
        """See `Client.candle_updates`."""
        return AsyncStream(lambda: self._run(self._client.candle_updates, *candles, gaps=gaps))

    @overload
    def book_updates(self, *books: BookTopic, max_rate: float | None = ..., states: Literal[True]) -> AsyncStream[Book | BookState]: ...
    @overload
    def book_updates(self, *books: BookTopic, max_rate: float | None = ..., states: Literal[False] = ...) -> AsyncStream[Book]: ...
    def book_updates(self, *books: BookTopic, max_rate: float | None = None, states: bool = False) -> AsyncStream[Any]:
        """See `Client.book_updates`."""
        return AsyncStream(lambda: self._run(self._client.book_updates, *books, max_rate=max_rate, states=states))

    def alert_updates(self) -> AsyncStream[AlertItem]:
        """See `Client.alert_updates`."""
        stream = self._client.alert_updates()
        return AsyncStream(lambda: _ready(stream))

    @overload
    def stitch(self, instrument: str, start: Moment, *, gaps: Literal[True], settle: float = ...) -> AsyncIterator[Tick | Gap]: ...
    @overload
    def stitch(self, instrument: str, start: Moment, *, gaps: Literal[False] = ..., settle: float = ...) -> AsyncIterator[Tick]: ...
    async def stitch(self, instrument: str, start: Moment, *, gaps: bool = False, settle: float = 15.0) -> AsyncIterator[Any]:
        """See `Client.stitch`. This is an asynchronous generator: a cancelled step ends it."""
        stitch, stream = Stitch(self._client, instrument, resolve_time(start), settle), self.prices(instrument, gaps=True)
        await stream.begin()
        try:
            past = stitch.past()
            while batch := await self._batch(past, _ITEMS_PER_BATCH):
                for item in batch:
                    if self._client.shows(item, gaps):
                        yield item
            async for live in stream:
                steps = stitch.live(live)
                for item in await self._batch(steps) if stitch.needs_store(live) else steps:
                    if self._client.shows(item, gaps):
                        yield item
        finally:
            stream.close()

    # requests

    async def subscribe(
        self,
        pairs: Sequence[str] | str = (),
        *,
        candles: Sequence[CandleSeries] = (),
        books: Sequence[BookTopic] = (),
        heartbeat: bool = False,
        alerts: Literal["all"] | None = None,
        max_rate: float | None = None,
        since: Since = None,
    ) -> Body:
        """See `Client.subscribe`."""
        options: dict[str, Any] = {"candles": candles, "books": books, "heartbeat": heartbeat, "alerts": alerts}
        return await self._run(self._client.subscribe, pairs, max_rate=max_rate, since=since, **options)

    async def unsubscribe(
        self,
        pairs: Sequence[str] | str = (),
        *,
        candles: Sequence[CandleSeries] | str = (),
        books: Sequence[BookTopic] | str = (),
        heartbeat: bool = False,
        alerts: Literal["all"] | None = None,
    ) -> Body:
        """See `Client.unsubscribe`."""
        options: dict[str, Any] = {"candles": candles, "books": books, "heartbeat": heartbeat, "alerts": alerts}
        return await self._run(self._client.unsubscribe, pairs, **options)

    async def get_subscriptions(self) -> Body:
        """See `Client.get_subscriptions`."""
        return await self._run(self._client.get_subscriptions)

    async def request_price(self, instrument: str) -> Tick:
        """See `Client.request_price`."""
        return await self._run(self._client.request_price, instrument)

    async def request_book(self, instrument: str, depth: int = 20) -> Book:
        """See `Client.request_book`."""
        return await self._run(self._client.request_book, instrument, depth)

    async def request_all_prices(self) -> dict[str, Quote]:
        """See `Client.request_all_prices`."""
        return await self._run(self._client.request_all_prices)

    async def get_server_stats(self) -> Body:
        """See `Client.get_server_stats`."""
        return await self._run(self._client.get_server_stats)

    async def ping(self) -> float:
        """Round-trip time in seconds, measured in the thread of the connection."""
        return await self._run(self._client.ping)

    async def set_alert(self, instrument: str, op: str, value: Decimal | str | float, *, metric: str = "price", once: bool = True) -> Alert:
        """See `Client.set_alert`."""
        return await self._run(self._client.set_alert, instrument, op, value, metric=metric, once=once)

    async def list_alerts(self) -> list[Alert]:
        """See `Client.list_alerts`."""
        return await self._run(self._client.list_alerts)

    async def delete_alert(self, alert: Alert | str) -> list[str]:
        """See `Client.delete_alert`."""
        return await self._run(self._client.delete_alert, alert)

    # reports, metrics, alerts

    async def report(self, *reports: Report | Mapping[str, Any]) -> ReportResult:
        """See `Client.report`."""
        return await self._run(self._client.report, *reports)

    @property
    def unacknowledged(self) -> list[Body]:
        """See `Client.unacknowledged`."""
        return self._client.unacknowledged

    async def open_positions(self, *, bot: str | None = None, strategy: str | None = None, symbol: str | None = None) -> list[OpenPosition]:
        """See `Client.open_positions`."""
        return await self._run(self._client.open_positions, bot=bot, strategy=strategy, symbol=symbol)

    def metrics(self, *channels: str, max_rate: float | None = None) -> AsyncStream[MetricsSnapshot]:
        """See `Client.metrics`."""
        return AsyncStream(lambda: self._run(self._client.metrics, *channels, max_rate=max_rate))

    async def acknowledge_alert(self, alert_id: str, by: str | None = None, comment: str | None = None) -> Acknowledgement:
        """See `Client.acknowledge_alert`."""
        return await self._run(self._client.acknowledge_alert, alert_id, by, comment)

    # prices of this program

    async def publish(
        self,
        instrument: str,
        *,
        bid: Decimal | str | None = None,
        ask: Decimal | str | None = None,
        mid: Decimal | str | None = None,
        time: datetime | str | None = None,
        volume: Decimal | str | None = None,
    ) -> PublishResult:
        """See `Client.publish`."""
        return await self._run(self._client.publish, instrument, bid=bid, ask=ask, mid=mid, time=time, volume=volume)

    async def publish_many(self, rows: Iterable[Mapping[str, Any]]) -> PublishResult:
        """See `Client.publish_many`."""
        return await self._run(self._client.publish_many, rows)


async def _awaited(result: Awaitable[ResultT]) -> ResultT:
    return await result


async def _ready(stream: Stream[ItemT]) -> Stream[ItemT]:
    return stream


def _in_loop(loop: asyncio.AbstractEventLoop, call: Callable[..., object], *arguments: Any) -> None:
    """Schedule a call from another thread; do nothing if the event loop is closed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *arguments)
