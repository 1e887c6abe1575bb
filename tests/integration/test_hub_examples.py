"""The examples of the hub equal the messages of a running hub."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from db.bus import Bus
from tests.examples import hub as hub_examples
from tests.examples.example import check_message, read_all
from tests.examples.shape import difference

FILES = read_all()


def test_messages_of_a_running_hub_equal_the_example_files(settings: Settings, bus: Bus, tmp_path: Path) -> None:
    seen = hub_examples.capture(settings, bus, tmp_path)
    assert set(seen) == {name for name in FILES if not name.startswith("rest/")}
    for name, exchange in seen.items():
        assert [(each["from"], each["event"]) for each in exchange] == [(each["from"], each["event"]) for each in FILES[name]], name
        for each, before in zip(exchange, FILES[name], strict=True):
            assert difference(each["body"], before["body"]) is None, name
            if each["from"] == "hub":
                check_message(each["event"], each["body"], each.get("namespace", "/"))
