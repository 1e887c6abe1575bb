"""Alerts of the observer process: `ALERT_DISK=1/2` raises one, which a person acknowledges."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
import redis as redis_client

from api.app import create_app
from config.settings import Settings
from db import topics
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import Servers, new_database, settings_for, until
from tests.support.processes import observer
from tests.support.store import select


@dataclass
class Place:
    settings: Settings
    bus: Bus
    store: Store
    folder: Path

    def states(self) -> list[tuple[object, ...]]:
        return select(self.store, "SELECT alert_id, severity, state, acknowledged_by FROM alerts WHERE key = 'system:disk' ORDER BY id")

    def sent(self) -> list[str]:
        """The states of the disk's alert that clients got."""
        bodies = [orjson.loads(entry.body) for entry in self.bus.backwards(topics.OBSERVABILITY_EVENTS)][::-1]
        return [
            each["details"]["state"] for each in bodies if each["event_type"] == "system_alert" and each["details"]["subject"] == "disk"
        ]


@pytest.fixture
def place(servers: Servers, tmp_path: Path) -> Iterator[Place]:
    with closing(redis_client.Redis.from_url(servers.operator_url, protocol=2)) as client:
        client.flushall()
    with new_database(servers) as url, closing(Bus(servers.redis_url, utc_now)) as bus, closing(Store(url)) as store:
        bus.set_instruments(servers.calendars)
        yield Place(settings_for(url, servers.redis_url, tmp_path), bus, store, tmp_path)


def test_threshold_of_the_disk_raises_one_alert_that_a_person_acknowledges(place: Place) -> None:
    client = create_app(place.settings, place.bus, place.store, utc_now, "1").test_client()
    with observer(place.settings, place.folder / "observer.log", ALERT_DISK="1/2") as process:
        until(lambda: len(place.states()) == 1, 40, lambda: process.output()[-3000:])
        ((alert_id, severity, state, _),) = place.states()
        assert (severity, state) == ("critical", "firing")
        for _ in range(2):
            answer = client.post(f"/api/system/alerts/acknowledge/{alert_id}", json={"by": "ada"})
            assert (answer.status_code, answer.get_json()["acknowledged_by"]) == (200, "ada")
        until(lambda: place.sent() == ["firing", "acknowledged"], 20, "both changes")
    assert place.states() == [(alert_id, "critical", "acknowledged", "ada")]
    if "TICKWIRE_ALERTS" not in os.environ:  # the rest takes 30 s more
        return
    with observer(place.settings, place.folder / "again.log"):
        until(lambda: place.sent() == ["firing", "acknowledged", "resolved"], 60, "the end")
    assert place.states() == [(alert_id, "critical", "resolved", "ada")]
    assert client.post(f"/api/system/alerts/acknowledge/{alert_id}").status_code == 409
