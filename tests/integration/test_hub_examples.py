"""The examples of the hub are what a running hub says today."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from db.bus import Bus
from tests.examples import hub as hub_examples
from tests.examples.example import check_message, read_all
from tests.examples.shape import difference

FILES = read_all()


def test_the_hub_s_messages_are_what_the_files_have(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    seen = hub_examples.capture(settings, bus, tmp_path)
    assert set(seen) == {name for name in FILES if not name.startswith("rest/")}
    for name, exchange in seen.items():
        assert [(each["from"], each["event"]) for each in exchange] == [(each["from"], each["event"]) for each in FILES[name]], name
        for each, before in zip(exchange, FILES[name], strict=True):
            assert difference(each["body"], before["body"]) is None, name
            if each["from"] == "hub":
                check_message(each["event"], each["body"])
