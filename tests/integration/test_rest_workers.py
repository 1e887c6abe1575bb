"""REST with several processes on one port."""

from __future__ import annotations

import urllib.request
from contextlib import closing
from pathlib import Path

import redis as redis_client

from config.settings import Settings
from db import topics
from tests.conftest import Servers, until
from tests.integration.conftest import SHARED_REDIS_DATABASE
from tests.support.processes import Web
from tests.support.servers import of_database


def test_workers_of_rest_share_a_port_and_report_by_names_of_their_own(shared_settings: Settings, servers: Servers, tmp_path: Path) -> None:
    address = of_database(servers.operator_url, SHARED_REDIS_DATABASE)
    with (
        closing(redis_client.Redis.from_url(address, protocol=2, decode_responses=True)) as redis,
        Web("rest", shared_settings, tmp_path / "rest.log", API_WORKERS="2") as rest,
    ):

        def names() -> set[str]:
            return {str(name).partition("@")[0] for name in redis.hkeys(topics.HEALTH)}

        until(lambda: {f"rest:{rest.port}", f"rest:{rest.port}.2"} <= names(), 30, lambda: f"two processes: {names()}")
        for _ in range(20):
            with urllib.request.urlopen(f"{rest.url}/api/trades", timeout=60) as answer:  # noqa: S310
                assert answer.status == 200
        assert rest.ask_to_stop() == 0
        assert [name for name in names() if name.startswith(f"rest:{rest.port}")] == []
