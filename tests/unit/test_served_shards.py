"""The writers of a process: the shards that they serve, and their end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from jobs.duties.holding import Holding
from jobs.duties.writers import ServedShards, Writers
from jobs.runtime.context import JobContext
from tests.support.polling import until


def held(*shards: int) -> list[Holding]:
    return [Holding(f"write:{shard}", shard + 1) for shard in shards]


def test_writer_serves_the_shards_of_the_held_duties() -> None:
    served, holdings = ServedShards(), held(3, 1)
    assert served.add(holdings)
    assert served.next_round("prices") == (1, 3)
    assert served.add(held(7))
    assert served.next_round("prices") == (1, 3, 7)
    holdings[0].stop.set()
    assert not served.is_left("write:3"), "the writer is in a round with it"
    assert served.next_round("prices") == (1, 7)
    assert served.is_left("write:3")
    assert not served.is_set()


def test_shard_is_left_once_every_writer_has_begun_a_round_without_it() -> None:
    served, holdings = ServedShards(), held(0, 1)
    served.add(holdings)
    for writer in ("prices", "trades"):
        served.next_round(writer)
    holdings[0].stop.set()
    served.next_round("prices")
    assert not served.is_left("write:0")
    served.next_round("trades")
    assert served.is_left("write:0")


def test_writers_end_for_good_with_their_last_duty_and_still_serve_it() -> None:
    served, [holding] = ServedShards(), held(2)
    served.add([holding])
    served.next_round("prices")
    assert not served.wait(0.01)
    threading.Timer(0.05, holding.stop.set).start()
    assert served.wait(60)
    assert served.next_round("prices") == (2,), "for the last batches"
    assert not served.add(held(4))
    assert served.is_set()


def test_new_duties_get_the_present_writers_or_new_ones() -> None:
    started: list[str] = []
    rounds: dict[str, Callable[[], Sequence[int]]] = {}

    def make(name: str, run: Callable[[JobContext], None], stop: threading.Event) -> threading.Thread:
        started.append(name)
        run(None)  # type: ignore[arg-type]
        return threading.Thread(target=stop.wait, daemon=True)

    writers = Writers({"prices": lambda context, served: rounds.update(prices=served)}, make)
    first, second = held(0), held(1)
    writers.begin(first)
    writers.begin(second)
    assert started == ["prices"]
    assert rounds["prices"]() == (0, 1)
    first[0].stop.set()
    assert not writers.is_over("write:0")
    rounds["prices"]()
    assert writers.is_over("write:0")
    second[0].stop.set()
    until(lambda: writers.is_over("write:1"), what="the end of the thread")
    writers.begin(held(0))
    assert started == ["prices", "prices"]
    assert rounds["prices"]() == (0,)
    assert writers.is_over("write:1")
