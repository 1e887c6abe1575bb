"""The blocking client."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, overload

from tickwire_client import parse
from tickwire_client.book_chain import BookTopic
from tickwire_client.book_messages import Book, BookState
from tickwire_client.checks import check
from tickwire_client.credentials import Auth, Credentials
from tickwire_client.errors import Refused, TickwireError
from tickwire_client.history import History
from tickwire_client.messages import (
    Alert,
    AlertItem,
    AlertTriggered,
    Body,
    CandleUpdate,
    CorrelationAlert,
    DataReady,
    Gap,
    Item,
    Position,
    Quote,
    Tick,
    VolatilityAlert,
)
from tickwire_client.observing import Observing
from tickwire_client.order_books import OrderBooks
from tickwire_client.publishing import Publishing
from tickwire_client.reports import OpenPosition
from tickwire_client.rest import Moment, Rest, check_url, default_rest_url, resolve_time
from tickwire_client.session import ALL, CandleSeries
from tickwire_client.stitch import Stitch
from tickwire_client.stream import Stream

Since = Mapping[str, Position] | None
DEFAULT_URL = "http://127.0.0.1:5001"
_ALERTS = (AlertTriggered, VolatilityAlert, CorrelationAlert, DataReady)


class Client(Observing, OrderBooks, History, Publishing):
    """A connection to the hub that reconnects until it is closed, and the history over REST.

    Use it in a `with` block. Any thread may call its methods.

    | argument | meaning |
    | --- | --- |
    | `url` | address of the hub |
    | `rest_url` | address of REST; default: port 5000 of the same host, if the hub has port 5001 |
    | `timeout` | limit of each request in seconds, including reconnections |
    | `buffer` | number of messages that may wait for a slow program |
    | `reconnect_delay` | first and longest delay between attempts to reconnect, in seconds |
    | `bot` | name of the bot whose reports this client sends |
    | `auth` | key or JWT: text, `{"api_key": …}`, `{"token": …}`, or a function that returns one |

    A function is called on each connect, when the credential expires soon, and after REST has
    refused the credential. It runs in a thread of the client.

    Requests raise `Refused`, `RequestTimeout` or `Closed`, and `Unauthorized` after the hub has
    refused the credential.
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
        auth: Auth = None,
        bot: str | None = None,
    ) -> None:
        for each in (url, rest_url):
            check_url(each)
        address, credentials = rest_url or default_rest_url(url), Credentials(auth)
        History.__init__(self, Rest(address, timeout, credentials))
        Publishing.__init__(self)
        rows = self.ticks if address else None
        Observing.__init__(self, bot, url, timeout, transports, buffer, reconnect_delay, credentials, rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # streams

    @overload
    def prices(self, *pairs: str, max_rate: float | None = ..., since: Since = ..., gaps: Literal[True]) -> Stream[Tick | Gap]: ...
    @overload
    def prices(self, *pairs: str, max_rate: float | None = ..., since: Since = ..., gaps: Literal[False] = ...) -> Stream[Tick]: ...
    def prices(self, *pairs: str, max_rate: float | None = None, since: Since = None, gaps: bool = False) -> Stream[Any]:
        """Subscribe and iterate over prices: the current price (`snapshot`), then new ones.

        The iterator continues after reconnections. `"all"` means all instruments. With `gaps`, it
        yields a `Gap` in place of missing messages. `since` resumes after a position of an earlier
        run. Raises `Refused` if an instrument does not exist. The subscription lasts until
        `unsubscribe()`, also if the iterator is closed.
        """
        if not pairs:
            raise ValueError("no instruments given")
        wanted = None if ALL in pairs else frozenset(pairs)
        kinds = (Tick, Gap) if gaps else (Tick,)

        def accepts(item: Item) -> bool:
            return isinstance(item, kinds) and _is_price(item) and (wanted is None or item.instrument in wanted)

        with self._lock:
            stream: Stream[Any] = self._attach(accepts)
            for pair, tick in self._session.latest.items():
                # Prices that wait for those of a gap come later, and begin the stream.
                if (wanted is None or pair in wanted) and not self._filler.holds(pair):
                    stream.put(tick)
        self._subscribe_all_or_none(ALL if wanted is None else list(pairs), max_rate=max_rate, since=since)
        return stream

    def candle_updates(self, *candles: CandleSeries, gaps: bool = False) -> Stream[CandleUpdate | Gap]:
        """Subscribe to candles, each `(instrument, interval)`, and iterate over their updates.

        The first update of a series is its current candle, if it has one.
        """
        wanted, kinds = frozenset(candles), (CandleUpdate, Gap) if gaps else (CandleUpdate,)
        stream: Stream[CandleUpdate | Gap] = self._attach(
            lambda item: isinstance(item, kinds) and (item.instrument, item.interval) in wanted
        )
        self._subscribe_all_or_none(candles=candles)
        return stream

    @overload
    def book_updates(self, *books: BookTopic, max_rate: float | None = ..., states: Literal[True]) -> Stream[Book | BookState]: ...
    @overload
    def book_updates(self, *books: BookTopic, max_rate: float | None = ..., states: Literal[False] = ...) -> Stream[Book]: ...
    def book_updates(self, *books: BookTopic, max_rate: float | None = None, states: bool = False) -> Stream[Any]:
        """Subscribe to order books, each `(instrument, depth)`, and iterate over them.

        The iterator yields the complete book after each message, the present one first, and with
        `states` each `BookState`. It continues after reconnections. Raises `Refused` with the code
        `no_book` if no book of the instrument is kept.
        """
        if not books:
            raise ValueError("no books given")
        wanted, instruments = frozenset(books), frozenset(instrument for instrument, _ in books)

        def accepts(item: Item) -> bool:
            if isinstance(item, Book):
                return (item.instrument, item.depth) in wanted
            return states and isinstance(item, BookState) and item.instrument in instruments

        with self._lock:
            stream: Stream[Any] = self._attach(accepts)
            for book in self._session.books.latest(books):
                stream.put(book)
        self._subscribe_all_or_none(books=books, max_rate=max_rate)
        return stream

    def alert_updates(self) -> Stream[AlertItem]:
        """Iterate over own alerts, the alerts of subscribed instruments, and `DataReady`."""
        return self._attach(lambda item: isinstance(item, _ALERTS))

    @overload
    def stitch(self, instrument: str, start: Moment, *, gaps: Literal[True], settle: float = ...) -> Iterator[Tick | Gap]: ...
    @overload
    def stitch(self, instrument: str, start: Moment, *, gaps: Literal[False] = ..., settle: float = ...) -> Iterator[Tick]: ...
    def stitch(self, instrument: str, start: Moment, *, gaps: bool = False, settle: float = 15.0) -> Iterator[Any]:
        """Iterate over the history from `start`, then over live prices: one series.

        Missed live prices are read from the store. `settle` is the time in seconds that the store
        may lag behind. If a price is not stored by then, a `Gap` (`not_stored`) replaces it.
        """
        stitch = Stitch(self, instrument, resolve_time(start), settle)
        with self.prices(instrument, gaps=True) as stream:
            yield from (item for item in stitch.past() if self.shows(item, gaps))
            for live in stream:
                yield from (item for item in stitch.live(live) if self.shows(item, gaps))

    def shows(self, item: Tick | Gap, gaps: bool) -> bool:
        """Whether `stitch` yields this item. Handlers receive every gap."""
        if isinstance(item, Gap):
            self._notify(item)
        return gaps or isinstance(item, Tick)

    def _subscribe_all_or_none(self, pairs: Sequence[str] | str = (), **more: Any) -> None:
        answer = self.subscribe(pairs, **more)
        for item in answer["rejected"]:
            if answer["added"]:
                self.unsubscribe(answer["added"])
            raise Refused(item["code"], item["message"], {"pair": item["pair"]})

    # requests

    def subscribe(
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
        """Subscribe until `unsubscribe()`, over reconnections; return `subscription_confirmed`.

        `books` are `(instrument, depth)` with a depth of 5, 10, 20 or 50. `heartbeat` subscribes to
        `on_heartbeat` and `on_scenario_changed`. `alerts="all"` subscribes to the volatility and
        correlation alerts of every instrument that the credential may read. `rejected` of the
        answer lists the first 20 instruments, candles and books that do not exist.
        """
        check("subscribe", {"pairs": pairs, "candles": list(candles), "books": list(books), "max_rate": max_rate})
        with self._lock:
            wanted = self._session.want(_names(pairs), candles, max_rate, since or {}, books, heartbeat=heartbeat, alerts=alerts)
            payload, withdraw = wanted
        try:
            answer = self._request("subscribe", payload)
        except TickwireError:
            with self._lock:
                withdraw()
            raise
        with self._lock:
            self._session.answered(payload, answer)
        return answer

    def unsubscribe(
        self,
        pairs: Sequence[str] | str = (),
        *,
        candles: Sequence[CandleSeries] | str = (),
        books: Sequence[BookTopic] | str = (),
        heartbeat: bool = False,
        alerts: Literal["all"] | None = None,
    ) -> Body:
        """Unsubscribe from instruments, candles, books (each may be `"all"`), heartbeats, alerts.

        Return `unsubscription_confirmed`.
        """
        with self._lock:
            payload = self._session.unwant(_names(pairs), candles, books, heartbeat=heartbeat, alerts=alerts)
        return self._request("unsubscribe", payload)

    def get_subscriptions(self) -> Body:
        """The subscriptions of this client in the hub: `subscriptions_info`."""
        return self._request("get_subscriptions")

    def request_price(self, instrument: str) -> Tick:
        """The latest price; no subscription is needed.

        Raises `Refused` with the code `unknown_instrument` or `no_price`.
        """
        return parse.tick(self._request("request_price", {"instrument": instrument}))

    def request_all_prices(self) -> dict[str, Quote]:
        """The latest price of every instrument that has one."""
        return {name: parse.quote(name, price) for name, price in self._request("request_all_prices")["prices"].items()}

    def get_server_stats(self) -> Body:
        """Statistics of the hub: `server_stats`."""
        return self._request("get_server_stats")

    def ping(self) -> float:
        """Round-trip time in seconds."""
        began = time.perf_counter()
        self._request("ping", {"timestamp": began})
        return time.perf_counter() - began

    def open_positions(self, *, bot: str | None = None, strategy: str | None = None, symbol: str | None = None) -> list[OpenPosition]:
        """The positions of bots that are not flat, from REST. It needs no connection to the hub."""
        rows = self.rest.rows("/positions", "positions", bot=bot, strategy=strategy, symbol=symbol)
        return [OpenPosition.of(row) for row in rows if Decimal(row["quantity"])]

    # own alerts

    def set_alert(self, instrument: str, op: str, value: Decimal | str | float, *, metric: str = "price", once: bool = True) -> Alert:
        """Set an alert: it fires when the metric is `">"` or `"<"` the value, or `"crosses"` it.

        The metric is the mid price, or with `metric="volatility"` the hourly volatility. The alert
        is set again after a reconnection and keeps its id. A crossing during an outage is missed.
        """
        shown = float(value) if metric == "volatility" else value if isinstance(value, str) else format(Decimal(str(value)), "f")
        payload: Body = {"instrument": instrument, "metric": metric, "op": op, "value": shown, "once": once}
        return self._set(payload)

    def list_alerts(self) -> list[Alert]:
        """The alerts that are set in the hub, in the order of `set_alert`."""
        alerts = self._request("list_alerts")["alerts"]
        with self._lock:
            return [parse.alert({**each, "id": self._session.alerts.own_id(each["id"])}) for each in alerts]

    def delete_alert(self, alert: Alert | str) -> list[str]:
        """Delete an alert, or `"all"`; return the ids of the deleted alerts."""
        own_id = alert if isinstance(alert, str) else alert.id
        with self._lock:
            hub_id = self._session.alerts.hub_id(own_id)
        deleted = self._request("delete_alert", {"id": hub_id})["deleted"]
        with self._lock:
            ids = [self._session.alerts.own_id(each) for each in deleted]
            for each in [held.id for held in self._session.alerts.alerts()] if own_id == ALL else ids:
                self._session.alerts.drop(each)
        return ids


def _is_price(item: Tick | Gap) -> bool:
    return isinstance(item, Tick) or item.interval is None


def _names(pairs: Sequence[str] | str) -> Sequence[str] | str:
    """One instrument as a list of one; `"all"` and lists as they are."""
    return [pairs] if isinstance(pairs, str) and pairs != ALL else pairs
