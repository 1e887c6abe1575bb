"""Where the client stands in each series of messages: what is new, what came already, what is missing. Pure.

A series is an instrument's prices, or an instrument's candles of one interval. Every message of Tickwire's own has (epoch, seq); a
subscription that resumes says the last one (`since`), and the hub either sends all that followed (`recovered`) or cannot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tickwire_client.messages import CandleUpdate, Gap, Position, Tick

Key = tuple[str, str | None]  # instrument; interval of candles, None for prices


@dataclass(slots=True)
class _Place:
    position: Position | None = None  # of the last message that was given on
    empty: bool = False  # nothing had ever come at the join: the first message is number 1, whatever the epoch
    known: bool = False  # it was joined before, or begins at a position somebody gave
    rated: bool = False  # joined with max_rate: most messages are left out on purpose
    # Messages found missing since the last gap_notice, which will count them once more; None where a new epoch hides how many.
    jumped: int | None = 0


class Positions:
    """One place for each series that is followed."""

    def __init__(self) -> None:
        self._places: dict[Key, _Place] = {}
        self._epoch: str | None = None  # of the last message of any series: the epoch is the same for all

    def follow(self, instrument: str, *, rated: bool = False, since: Position | None = None) -> None:
        """Begin with a series of prices, or change how it is followed."""
        place = self._places.setdefault((instrument, None), _Place())
        place.rated = rated
        if since is not None:
            place.position, place.known, self._epoch = since, True, self._epoch or since.epoch

    def forget(self, key: Key) -> None:
        """A series that is given up begins anew the next time."""
        self._places.pop(key, None)

    def since(self, instruments: Iterable[str]) -> dict[str, dict[str, object]]:
        """What `subscribe` says, so that the hub sends what was missed."""
        places = {name: place for name in instruments if (place := self._places.get((name, None)))}
        positions = {name: self._resume(place) for name, place in places.items()}
        return {name: {"epoch": at.epoch, "seq": at.seq} for name, at in positions.items() if at}

    def _resume(self, place: _Place) -> Position | None:
        if place.position is None and place.empty and self._epoch is not None:
            return Position(self._epoch, 0)
        return place.position

    def lost(self) -> None:
        """The connection ended; the notices that were still to come will not."""
        for place in self._places.values():
            place.jumped = 0

    def joined(self, instrument: str, snapshot: Tick | None, recovered: bool | None) -> list[Tick | Gap]:
        """The room has just been joined: `snapshot` is the state at that moment, `recovered` the answer to `since`, if there was one."""
        place = self._places.setdefault((instrument, None), _Place())
        before, place.known = place.known, True
        if recovered:
            return []  # the messages themselves follow
        if snapshot is None:
            place.empty = place.empty or not before
            return []
        if snapshot.position is None:
            return self._joined_foreign(place, snapshot, before)
        if place.position is None and not place.empty:
            self._stand(place, snapshot.position)
            return [Gap(instrument, None, "not_recovered"), snapshot] if before else [snapshot]
        return self._admit((instrument, None), place, snapshot, "not_recovered")

    def _joined_foreign(self, place: _Place, snapshot: Tick, before: bool) -> list[Tick | Gap]:
        """Without a place nobody can tell whether it was seen before; where there is a position, the next message shows what is missing."""
        if not before:
            return [snapshot]
        return [] if place.position or place.empty else [Gap(snapshot.instrument, None, "not_recovered")]

    def tick(self, tick: Tick) -> list[Tick | Gap]:
        """A `price_update` has come."""
        place = self._places.setdefault((tick.instrument, None), _Place())
        place.known = True
        return self._admit((tick.instrument, None), place, tick, "skipped") if tick.position else [tick]

    def _admit(self, key: Key, place: _Place, tick: Tick, reason: str) -> list[Tick | Gap]:
        at = tick.position
        assert at is not None  # noqa: S101 - callers keep foreign messages out
        last = place.position or (Position(at.epoch, 0) if place.empty else Position(at.epoch, at.seq - 1))
        if at.epoch == last.epoch and at.seq <= last.seq:
            return []
        self._stand(place, at)
        if at.epoch != last.epoch:
            place.jumped = None
            return [Gap(key[0], None, "new_epoch"), tick]
        missed = at.seq - last.seq - 1
        if not missed or (place.rated and reason == "skipped"):
            return [tick]
        self._jump(place, missed if reason == "skipped" else 0)
        return [Gap(key[0], missed, reason), tick]

    def _jump(self, place: _Place, missed: int | None) -> None:
        place.jumped = None if place.jumped is None or missed is None else place.jumped + missed

    def _stand(self, place: _Place, at: Position) -> None:
        place.position, self._epoch = at, at.epoch

    def noticed(self, key: Key, dropped: int) -> list[Gap]:
        """A `gap_notice` has come, which is after the messages behind the gap: what their `seq` showed already is not told again."""
        place = self._places.get(key)
        if place is None:
            return []
        more, place.jumped = 0 if place.jumped is None else dropped - place.jumped, 0
        return [Gap(key[0], more, "slow_consumer", key[1])] if more > 0 else []

    def candles(self, bodies: list[CandleUpdate], *, snapshot: bool) -> list[CandleUpdate | Gap]:
        """Candles of one series have come: one of them live, or those of a snapshot, of which the highest `seq` is the last message."""
        key: Key = (bodies[0].instrument, bodies[0].interval)
        place = self._places.setdefault(key, _Place())
        before, place.known = place.position, True
        fresh = [each for each in bodies if _follows(each, before)]
        at = max((Position(each.epoch, each.seq) for each in fresh if each.seq and each.epoch), key=lambda at: at.seq, default=None)
        if at is None:
            return list(fresh)
        self._stand(place, at)
        missed = None if before and before.epoch != at.epoch else at.seq - before.seq - len(fresh) if before else 0
        if missed == 0:
            return list(fresh)
        reason = "new_epoch" if missed is None else "not_recovered" if snapshot else "skipped"
        self._jump(place, 0 if snapshot else missed)
        return [Gap(key[0], missed, reason, key[1]), *fresh]


def _follows(candle: CandleUpdate, last: Position | None) -> bool:
    return last is None or candle.seq is None or candle.epoch != last.epoch or candle.seq > last.seq
