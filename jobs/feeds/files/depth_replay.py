"""Recordings of raw depth messages of Binance in `SOURCES`: the process `books` plays them.

All others have prices, and the jobs play them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from config.settings import SourceSpec
from db.scenarios.fields import ScenarioError
from db.scenarios.files import is_depth_recording, load_recording
from jobs.feeds.base import BadInput, as_source_error
from jobs.feeds.scenario.player import UnplayableRecording
from jobs.feeds.scenario.replay import Replay


def depth_replays(specs: Sequence[SourceSpec]) -> list[SourceSpec]:
    """The entries of `SOURCES` whose files have depth messages. Reads the start of each file."""
    return [spec for spec in specs if spec.file is not None and is_depth_recording(spec.file)]


def load_replay(spec: SourceSpec, instruments: Collection[str], kept: Collection[str] = ()) -> Replay:
    """Read the recording of an entry of `SOURCES`, and check each line.

    `instruments` are the existing ones, `kept` those that have a book already. Raises
    `SourceError` for an unknown instrument, a second book of one, or a recording that cannot be
    played.
    """
    if spec.file is None:
        raise ValueError("a replay needs a file")
    try:
        recording = load_recording(spec.file, instruments)
        if double := sorted(set(recording.facts.instruments).intersection(kept)):
            reason = f"has {', '.join(double)}, whose book another source gives: remove one of them from SOURCES or BOOK_SYMBOLS"
            raise BadInput(f"recording {spec.file} {reason}")
        return Replay(recording, speed=spec.speed, loop=spec.loop)
    except (ScenarioError, UnplayableRecording, BadInput) as error:
        raise as_source_error(error if isinstance(error, BadInput) else BadInput(str(error))) from error
