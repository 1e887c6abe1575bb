"""The subscribed order books of one client, and its subscription to heartbeats. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tickwire_client import parse
from tickwire_client.book_chain import BookChain, BookTopic
from tickwire_client.messages import Body, Item

ALL = "all"
MAX_BOOKS_PER_REQUEST = 1000


class Books:
    """Books by topic, over any number of connections.

    A book that was confirmed before stays subscribed if a hub refuses it with `no_book` after a
    reconnection: that hub, or Redis, may have started before the process that keeps the books. Such
    books are `missing`.
    """

    def __init__(self) -> None:
        self.missing: set[BookTopic] = set()  # subscribed, but not at the hub
        self._chains: dict[BookTopic, BookChain] = {}
        self._unconfirmed: set[BookTopic] = set()  # new subscriptions without an answer
        self._heartbeat: bool | None = False  # None: wanted, without an answer
        self._broken: set[BookTopic] = set()  # topics to request

    # requests

    def opening(self) -> list[Body]:
        """The payloads of `subscribe` for a new connection."""
        held = [chain for topic, chain in self._chains.items() if topic not in self._unconfirmed]
        payloads = []
        for rate in dict.fromkeys(chain.rate for chain in held):
            topics = [chain.topic for chain in held if chain.rate == rate]
            parts = (topics[at : at + MAX_BOOKS_PER_REQUEST] for at in range(0, len(topics), MAX_BOOKS_PER_REQUEST))
            payloads += [self.payload(part, rate) for part in parts]
        return [*payloads, {"heartbeat": True}] if self._heartbeat else payloads

    def missing_again(self) -> list[Body]:
        """The payloads that subscribe to the missing books again."""
        rates = dict.fromkeys(self._chains[topic].rate for topic in self.missing)
        return [self.payload([topic for topic in self.missing if self._chains[topic].rate == rate], rate) for rate in rates]

    def payload(self, topics: Sequence[BookTopic], rate: float | None) -> Body:
        """The part of `subscribe` for these books."""
        payload: Body = {"books": [book_body(topic) for topic in topics]}
        return payload if rate is None else {**payload, "max_rate": rate}

    def want(self, topics: Sequence[BookTopic], rate: float | None, *, heartbeat: bool) -> Callable[[], None]:
        """Add subscriptions; return a function that removes the new ones."""
        new, had_heartbeat = [topic for topic in topics if topic not in self._chains], self._heartbeat
        self._unconfirmed.update(new)
        for topic in topics:
            self._chains.setdefault(topic, BookChain(topic)).rate = rate
        if heartbeat and not had_heartbeat:
            self._heartbeat = None

        def withdraw() -> None:
            self._heartbeat = had_heartbeat
            self.forget(new)

        return withdraw

    def unwant(self, topics: Sequence[BookTopic] | str, *, heartbeat: bool) -> Body:
        """Remove subscriptions and return their part of `unsubscribe`."""
        self.forget(list(self._chains) if isinstance(topics, str) else topics)
        self._heartbeat = False if heartbeat else self._heartbeat
        payload: Body = {"heartbeat": True} if heartbeat else {}
        if topics:
            payload["books"] = topics if isinstance(topics, str) else [book_body(topic) for topic in topics]
        return payload

    def forget(self, topics: Iterable[BookTopic]) -> None:
        """End subscriptions."""
        for topic in topics:
            self._chains.pop(topic, None)
            for held in (self._unconfirmed, self.missing, self._broken):
                held.discard(topic)

    def forget_instruments(self, instruments: Sequence[str]) -> None:
        """End the subscriptions of instruments that are gone."""
        self.forget([topic for topic in self._chains if topic[0] in instruments])

    def left(self, room: str) -> None:
        """The client has left a room for want of rights: `book_INSTRUMENT_DEPTH`, `heartbeat`."""
        if room == "heartbeat":
            self._heartbeat = False
        elif room.startswith("book_"):
            instrument, _, depth = room.removeprefix("book_").rpartition("_")
            self.forget([(instrument, int(depth))])

    def take_broken(self) -> list[BookTopic]:
        """The books to request, each once."""
        topics, self._broken = sorted(self._broken), set()
        return topics

    # received messages

    def lost(self) -> None:
        """The connection has ended."""
        self.missing.clear()
        self._broken.clear()
        for chain in self._chains.values():
            chain.lost()

    def confirmed(self, body: Body) -> list[Item]:
        """The part of `subscription_confirmed` about books."""
        held = {topic_of(each) for each in body.get("books", ())}
        self._unconfirmed -= held
        if body.get("heartbeat") and self._heartbeat is None:
            self._heartbeat = True
        for item in body["rejected"]:
            self._reject(item)
        self.missing = set(self._chains) - self._unconfirmed - held
        return [item for each in body.get("book_snapshot", ()) for item in self.snapshot(each)]

    def _reject(self, item: Body) -> None:
        pair, depth = item.get("pair"), item.get("depth")
        if isinstance(pair, str) and isinstance(depth, int) and (item["code"] != "no_book" or (pair, depth) in self._unconfirmed):
            self.forget([(pair, depth)])

    def answered(self, asked: Body, answer: Body) -> None:
        """Remove the new books of a request that its answer does not hold."""
        held = {topic_of(each) for each in answer.get("books", ())}
        self.forget([topic for topic in map(topic_of, asked.get("books", ())) if topic not in held and topic not in self.missing])

    def snapshot(self, body: Body) -> list[Item]:
        """A `book_snapshot` or `book_response` has arrived."""
        chain = self._chains.get((body["instrument"], body["depth"]))
        return [] if chain is None else self._passed(chain, chain.snapshot(body))

    def update(self, body: Body) -> list[Item]:
        """A `book_update` has arrived."""
        chain = self._chains.get((body["instrument"], body["depth"]))
        return [] if chain is None else self._passed(chain, chain.update(body))

    def _passed(self, chain: BookChain, items: Sequence[Item]) -> list[Item]:
        (self._broken.add if chain.is_broken else self._broken.discard)(chain.topic)
        return list(items)

    def state(self, body: Body) -> list[Item]:
        """A `book_state` has arrived."""
        change = parse.book_state(body)
        chains = [chain for topic, chain in self._chains.items() if topic[0] == change.instrument]
        for chain in chains:
            chain.changed(change.state, change.reason)
        return [change] if chains else []

    def latest(self, topics: Iterable[BookTopic]) -> list[Item]:
        """The newest books of these topics."""
        chains = (self._chains.get(topic) for topic in topics)
        return [chain.last for chain in chains if chain is not None and chain.last is not None]


def book_body(topic: BookTopic) -> Body:
    """A book in the form of a request."""
    return {"pair": topic[0], "depth": topic[1]}


def topic_of(body: Body) -> BookTopic:
    """The book of an item of a request or an answer."""
    return body["pair"], body["depth"]
