"""The position in each series of messages: finds new, repeated and missing messages. Pure.

A series is the prices of an instrument, or its candles of one interval. Messages of Tickwire have
(epoch, seq). A subscription that resumes sends the last position (`since`). The hub then sends all
later messages (`recovered`), or reports that it cannot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tickwire_client.messages import CandleUpdate, Gap, Position, Tick

Key = tuple[str, str | None]  # (instrument, interval); interval is None for prices


@dataclass(slots=True)
class _SeriesState:
    position: Position | None = None  # of the last message passed on
    empty: bool = False  # no message existed at the join: the first one has seq 1, in any epoch
    start: str | None = None  # epoch in which the first message is expected, as the hub has sent it
    known: bool = False  # joined before, or begins at a position of the caller
    rated: bool = False  # joined with max_rate: skipped messages are intended
    # Missing messages reported since the last gap_notice, which counts them again. None means
    # unknown, after a new epoch.
    reported: int | None = 0


class Positions:
    """The states of all followed series."""

    def __init__(self) -> None:
        self._series: dict[Key, _SeriesState] = {}
        self._epoch: str | None = None  # of the last message of any series; older hubs have one epoch for all

    def follow(self, instrument: str, *, rated: bool = False, since: Position | None = None) -> None:
        """Follow a series of prices, or change its rate or position."""
        state = self._series.setdefault((instrument, None), _SeriesState())
        state.rated = rated
        if since is not None:
            state.position, state.known, self._epoch = since, True, self._epoch or since.epoch

    def forget(self, key: Key) -> None:
        """Stop following a series. The next `follow` begins without a position."""
        self._series.pop(key, None)

    def since(self, instruments: Iterable[str]) -> dict[str, dict[str, object]]:
        """The `since` of a subscribe request: the last position of each instrument that has one."""
        series = {name: state for name in instruments if (state := self._series.get((name, None)))}
        positions = {name: self._resume(state) for name, state in series.items()}
        return {name: {"epoch": at.epoch, "seq": at.seq} for name, at in positions.items() if at}

    def _resume(self, state: _SeriesState) -> Position | None:
        epoch = state.start or self._epoch
        if state.position is None and state.empty and epoch is not None:
            return Position(epoch, 0)
        return state.position

    def lost(self) -> None:
        """The connection has ended, so pending gap notices will not arrive."""
        for state in self._series.values():
            state.reported = 0

    def joined(self, instrument: str, snapshot: Tick | None, recovered: bool | None, start: str | None = None) -> list[Tick | Gap]:
        """The subscription is confirmed: return the items that its answer adds.

        `snapshot` is the price at that moment. `recovered` is the answer to `since`; None without
        `since`. `start` is the epoch of an instrument without a message.
        """
        state = self._series.setdefault((instrument, None), _SeriesState())
        state.start = start or state.start
        before, state.known = state.known, True
        if recovered:
            return []  # the messages themselves follow
        if snapshot is None:
            state.empty = state.empty or not before
            return []
        if snapshot.position is None:
            return self._joined_foreign(state, snapshot, before)
        if state.position is None and not state.empty:
            self._advance(state, snapshot.position)
            return [Gap(instrument, None, "not_recovered"), snapshot] if before else [snapshot]
        return self._admit((instrument, None), state, snapshot, "not_recovered")

    def _joined_foreign(self, state: _SeriesState, snapshot: Tick, before: bool) -> list[Tick | Gap]:
        """A snapshot without a position may be a repetition, so only the first join passes it on.

        If the series has a position, the `seq` of its next message shows the missing ones.
        """
        if not before:
            return [snapshot]
        return [] if state.position or state.empty else [Gap(snapshot.instrument, None, "not_recovered")]

    def tick(self, tick: Tick) -> list[Tick | Gap]:
        """A `price_update` has arrived."""
        state = self._series.setdefault((tick.instrument, None), _SeriesState())
        state.known = True
        return self._admit((tick.instrument, None), state, tick, "skipped") if tick.position else [tick]

    def _admit(self, key: Key, state: _SeriesState, tick: Tick, reason: str) -> list[Tick | Gap]:
        at = tick.position
        assert at is not None  # noqa: S101 - callers filter messages without a position
        last = state.position or (Position(at.epoch, 0) if state.empty else Position(at.epoch, at.seq - 1))
        if at.epoch == last.epoch and at.seq <= last.seq:
            return []
        self._advance(state, at)
        if at.epoch != last.epoch:
            state.reported = None
            return [Gap(key[0], None, "new_epoch"), tick]
        missed = at.seq - last.seq - 1
        if not missed or (state.rated and reason == "skipped"):
            return [tick]
        self._count_reported(state, missed if reason == "skipped" else 0)
        return [Gap(key[0], missed, reason), tick]

    def _count_reported(self, state: _SeriesState, missed: int | None) -> None:
        state.reported = None if state.reported is None or missed is None else state.reported + missed

    def _advance(self, state: _SeriesState, at: Position) -> None:
        state.position, self._epoch = at, at.epoch

    def noticed(self, key: Key, dropped: int) -> list[Gap]:
        """A `gap_notice` has arrived: report the messages that no jump of `seq` has reported.

        The hub sends the notice after the first messages behind the gap.
        """
        state = self._series.get(key)
        if state is None:
            return []
        more, state.reported = 0 if state.reported is None else dropped - state.reported, 0
        return [Gap(key[0], more, "slow_consumer", key[1])] if more > 0 else []

    def candles(self, bodies: list[CandleUpdate], *, snapshot: bool) -> list[CandleUpdate | Gap]:
        """Candles of one series have arrived: one live update, or a snapshot of several candles.

        In a snapshot, the highest `seq` belongs to the last message.
        """
        key: Key = (bodies[0].instrument, bodies[0].interval)
        state = self._series.setdefault(key, _SeriesState())
        before, state.known = state.position, True
        fresh = [each for each in bodies if _follows(each, before)]
        at = max((Position(each.epoch, each.seq) for each in fresh if each.seq and each.epoch), key=lambda at: at.seq, default=None)
        if at is None:
            return list(fresh)
        self._advance(state, at)
        missed = None if before and before.epoch != at.epoch else at.seq - before.seq - len(fresh) if before else 0
        if missed == 0:
            return list(fresh)
        reason = "new_epoch" if missed is None else "not_recovered" if snapshot else "skipped"
        self._count_reported(state, 0 if snapshot else missed)
        return [Gap(key[0], missed, reason, key[1]), *fresh]


def _follows(candle: CandleUpdate, last: Position | None) -> bool:
    return last is None or candle.seq is None or candle.epoch != last.epoch or candle.seq > last.seq
