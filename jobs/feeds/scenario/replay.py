"""One recording of depth as it was received, without a scenario: `replay:FILE`. Pure.

It has the methods of a `Player`. Only the snapshots of the recording exist: no request is answered.
"""

from __future__ import annotations

from math import inf

from db.scenarios.model import Phase
from db.scenarios.recording import Recording, Rule
from jobs.feeds.scenario.messages import Played
from jobs.feeds.scenario.player import Player
from jobs.feeds.scenario.speeds import Speeds

_PHASE_SECONDS = 3600.0  # the speed is the same in all phases


class Replay:
    """The messages of a recording at `speed`; None: each one is due at once.

    With `loop` the recording begins again at its end, with raised ids and a restart. Otherwise
    `ended` becomes true, and `next_due` infinite.
    """

    def __init__(self, recording: Recording, *, speed: float | None = 1.0, loop: bool = False) -> None:
        self.recording = recording
        self._at_once = speed is None
        pace = 1.0 if speed is None else speed
        self._player = Player([recording], Speeds([Phase(_PHASE_SECONDS, pace, pace)], repeat=True))
        # A restart of each instrument precedes its messages.
        self._messages_left = inf if loop else len(recording.entries) + len(self.instruments)
        self._diffs_left = inf if loop else recording.facts.messages

    @property
    def instruments(self) -> tuple[str, ...]:
        return self._player.instruments

    @property
    def rule(self) -> Rule:
        """The rule of continuity: `spot` or `usdm`."""
        return self.recording.facts.rule

    @property
    def rate(self) -> float:
        """Mean number of diffs per recorded second, over all instruments."""
        return self._player.rate

    @property
    def ended(self) -> bool:
        """True if every message was read."""
        return not self._messages_left

    @property
    def next_due(self) -> float:
        """The time of the next message, in seconds since the start; infinite at the end."""
        if self.ended:
            return inf
        return 0.0 if self._at_once else self._player.next_due

    def read(self) -> Played:
        """The next message, which is due at `next_due`, whether that time has come or not."""
        if self.ended:
            raise ValueError(f"{self.recording.name} has ended")
        message = self._player.read()
        self._messages_left -= 1
        self._diffs_left -= message.kind == "diff"
        return message

    def unread(self, now: float) -> int:
        """Number of diffs that are due and were not read; 0 if all are due at once."""
        return 0 if self._at_once else int(min(self._player.unread(now), self._diffs_left))

    def snapshot(self, instrument: str, levels: int, now: float, age: float | None = None) -> bytes | None:
        """None: no request is answered."""
        return None
