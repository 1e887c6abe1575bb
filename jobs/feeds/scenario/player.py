"""The player: recordings as the messages of an exchange, each due at a time of its own clock. Pure.

The recordings of one instrument follow each other, and begin again at the end of the last one.
Those of different instruments play side by side. Each due time comes from the receive time in the
recording and the speeds of the scenario, so that it never waits for a reader.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge
from itertools import accumulate
from math import inf
from operator import itemgetter

from db.scenarios.lines import Entry
from db.scenarios.recording import Recording
from jobs.feeds.scenario.complete import CompleteBook, LateBook, Levels
from jobs.feeds.scenario.messages import Played
from jobs.feeds.scenario.speeds import Speeds

_NS = 1_000_000_000
# Time after the last message of a recording that has only one.
_LONE_SECONDS = 0.1


class UnplayableRecording(ValueError):
    """The recordings of a scenario do not fit together."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The messages of one instrument in one recording.

    `entries` are (recorded seconds since the recording's first message, entry), without the first
    snapshot, which is `base`; None: the recording continues the one before it. `joins` maps the
    number of an entry to the later snapshot that a complete book takes over before it.
    """

    entries: tuple[tuple[float, Entry], ...]
    seconds: float
    base: Entry | None
    joins: dict[int, Entry]
    first_id: int


class _Track:
    """One instrument: its parts, played in turn without end."""

    def __init__(self, instrument: str, parts: Sequence[_Part]) -> None:
        self.instrument = instrument
        self._parts = parts
        starts = [0.0]
        for part in parts:
            starts.append(starts[-1] + part.seconds)
        self._seconds = starts.pop()
        self._diffs = [
            start + position for start, part in zip(starts, parts, strict=True) for position, entry in part.entries if entry.kind == "diff"
        ]
        self.read = 0  # diffs

    @property
    def messages(self) -> int:
        """Number of messages of one round, restarts included."""
        return sum(len(part.entries) + 2 * (part.base is not None) for part in self._parts)

    @property
    def rate(self) -> float:
        """Mean number of diffs per recorded second."""
        return len(self._diffs) / self._seconds

    def due_diffs(self, position: float) -> int:
        """Number of diffs up to a recorded position, since the start."""
        rounds, rest = divmod(position, self._seconds)
        return int(rounds) * len(self._diffs) + bisect_right(self._diffs, rest)

    def play(self) -> Iterator[tuple[float, Entry | None, int, Entry | None]]:
        """Yield (position, entry, number by which its ids are raised, base).

        The entry of a restart is None.
        """
        start, by, last_id = 0.0, 0, -1
        while True:
            for part in self._parts:
                if part.base is not None:
                    # A snapshot with the id of the diff before it would look like no news.
                    by = max(by, last_id + 1 - min(part.first_id, part.base.last_id)) if last_id >= 0 else 0
                    yield start, None, by, part.base
                    yield start, part.base, by, None
                for number, (position, entry) in enumerate(part.entries):
                    if entry.kind == "diff":
                        last_id = entry.last_id + by
                    yield start + position, entry, by, part.joins.get(number)
                start += part.seconds


class Player:
    """The messages of some recordings at the speeds of a scenario, one after another.

    `new_book` makes a book without a window for the complete book of an instrument; None: snapshot
    requests are not answered. `late` are the ages, in seconds, of which old snapshots are needed.
    `jump` gives the number of ids to leave out before a diff that is due at a time. Without `loop`
    the player has `ended` after the last message, and `next_due` is infinite.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        speeds: Speeds,
        *,
        new_book: Callable[[], Levels] | None = None,
        late: Sequence[float] = (),
        jump: Callable[[float], int] = lambda due: 0,
        loop: bool = True,
    ) -> None:
        self._speeds = speeds
        self._tracks = [_Track(instrument, parts) for instrument, parts in _parts_by_instrument(recordings).items()]
        self._jump = jump
        self._jumped = {track.instrument: 0 for track in self._tracks}
        self._books: dict[str, CompleteBook] = {}
        self._late: dict[tuple[str, float], LateBook] = {}
        if new_book is not None:
            self._books = {track.instrument: CompleteBook(new_book()) for track in self._tracks}
            self._late = {(name, age): LateBook(CompleteBook(new_book()), age) for name in self._books for age in late}
        self._followers: dict[str, list[CompleteBook | LateBook]] = {
            track.instrument: [
                *(book for name, book in self._books.items() if name == track.instrument),
                *(book for (name, _), book in self._late.items() if name == track.instrument),
            ]
            for track in self._tracks
        }
        self._messages = merge(*map(_tagged, self._tracks), key=itemgetter(0))
        self._next = next(self._messages)
        self._left = inf if loop else sum(track.messages for track in self._tracks)
        self._diffs_left = inf if loop else sum(recording.facts.messages for recording in recordings)
        self.next_due = 0.0

    @property
    def instruments(self) -> tuple[str, ...]:
        return tuple(track.instrument for track in self._tracks)

    @property
    def rate(self) -> float:
        """Mean number of diffs per second at speed 1, over all instruments."""
        return sum(track.rate for track in self._tracks)

    def unread(self, now: float) -> int:
        """Number of diffs that are due and were not read."""
        position = self._speeds.position_at(now)
        unread = sum(max(0, track.due_diffs(position) - track.read) for track in self._tracks)
        return int(min(unread, self._diffs_left))

    @property
    def ended(self) -> bool:
        """True after the last message of recordings that are played once."""
        return self._left <= 0

    def read(self) -> Played:
        """The next message, which is due at `next_due`, whether that time has come or not."""
        message = self._played()
        for book in self._followers[message.instrument]:
            book.follow(message)
        self._left -= 1
        self._diffs_left -= message.kind == "diff"
        self._next = next(self._messages)
        self.next_due = inf if self.ended else max(self.next_due, self._speeds.time_at(self._next[0]))
        return message

    def snapshot(self, instrument: str, levels: int, now: float, age: float | None = None) -> bytes | None:
        """The answer to a snapshot request, `age` seconds old; None: there is none."""
        if age is not None:
            late = self._late.get((instrument, age))
            return None if late is None else late.snapshot(levels, now)
        book = self._books.get(instrument)
        return None if book is None else book.snapshot(levels)

    def _played(self) -> Played:
        _, track, entry, by, base = self._next
        if entry is None:
            update_id = (0 if base is None else base.last_id) + by + self._jumped[track.instrument]
            text = None if base is None else base.text
            return Played(self.next_due, "restart", track.instrument, b"", 0, update_id, update_id, base=text)
        if entry.kind == "diff":
            track.read += 1
            self._jumped[track.instrument] += self._jump(self.next_due)
        by += self._jumped[track.instrument]
        message = Played(
            self.next_due,
            entry.kind,
            track.instrument,
            entry.text,
            by,
            entry.first_id + by,
            entry.last_id + by,
            entry.time / _NS,
        )
        return message if base is None else replace(message, base=base.text)


_Step = tuple[float, _Track, Entry | None, int, Entry | None]


def _tagged(track: _Track) -> Iterator[_Step]:
    return ((position, track, entry, by, base) for position, entry, by, base in track.play())


def _parts_by_instrument(recordings: Sequence[Recording]) -> dict[str, list[_Part]]:
    found: dict[str, list[_Part]] = {}
    for recording in recordings:
        for instrument in recording.facts.instruments:
            part = _part(recording, instrument)
            if part.base is None and instrument not in found:
                raise UnplayableRecording(
                    f"{recording.name} has no snapshot of {instrument}, and no recording before it has one: "
                    "put the recording that it continues before it"
                )
            found.setdefault(instrument, []).append(part)
    return found


def _part(recording: Recording, instrument: str) -> _Part:
    origin = recording.entries[0].time
    own = [each for each in recording.entries if each.instrument == instrument]
    snapshots = [each for each in own if each.kind == "snapshot"]
    base = snapshots[0] if snapshots else None
    entries = tuple(((each.time - origin) / _NS, each) for each in own if each is not base)
    diffs = [(number, each) for number, (_, each) in enumerate(entries) if each.kind == "diff"]
    seconds = recording.facts.seconds
    seconds += seconds / (len(diffs) - 1) if len(diffs) > 1 and seconds else _LONE_SECONDS
    joins = _joins(diffs, snapshots[1:], is_spot=recording.facts.rule == "spot")
    return _Part(entries, seconds, base, joins, diffs[0][1].first_id)


def _joins(diffs: Sequence[tuple[int, Entry]], snapshots: Sequence[Entry], *, is_spot: bool) -> dict[int, Entry]:
    """The number of the first diff that a book from each snapshot needs, by the rule of its market.

    `diffs` are (number, diff). A snapshot after which there is no diff is left out.
    """
    newest = list(accumulate((each.last_id for _, each in diffs), max))
    found = {}
    for snapshot in snapshots:
        place = bisect_left(newest, snapshot.last_id + is_spot)
        if place < len(diffs):
            found[diffs[place][0]] = snapshot
    return found
