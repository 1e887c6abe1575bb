"""Checks of Redis that depend on the mode of the bus."""

from __future__ import annotations

import pytest

from db.bus import BusSetup, RedisFacts
from ops.servers import BUS_CHECKS, DOCTOR, Finding, Kind, Server, at_addresses

SINGLE, CLUSTER = BusSetup(), BusSetup("cluster", shards=16, failover=True)
MANAGED = BusSetup(failover=True)
WELL = RedisFacts("7.2.4", "", True, "always", "noeviction", 2**30, cluster=False, replicas=0)


def texts(setup: BusSetup, facts: RedisFacts, kind: Kind) -> list[str]:
    server = Server("REDIS_URL", "redis://one", "one", "6379", "default", "0", True, setup)
    found = [finding for row in BUS_CHECKS if not row.skipped(DOCTOR) and (finding := row.judge(server, facts))]
    return [finding.text for finding in found if finding.kind is kind]


def facts(**more: object) -> RedisFacts:
    values = {name: getattr(WELL, name) for name in RedisFacts.__dataclass_fields__}
    return RedisFacts(**{**values, **more})


@pytest.mark.parametrize(
    ("setup", "found", "begin"),
    [
        (SINGLE, facts(replicas=2), "Redis at one:6379 has replicas, and REDIS_FAILOVER is 0"),
        (SINGLE, facts(cluster=True), "REDIS_URL: Redis at one:6379 runs in cluster mode, and REDIS_MODE is single"),
        (MANAGED, facts(replicas=2), None),
        (CLUSTER, facts(cluster=True, replicas=2), None),
        (SINGLE, WELL, None),
    ],
)
def test_warnings_about_replicas_and_cluster_mode_follow_the_setting(setup: BusSetup, found: RedisFacts, begin: str | None) -> None:
    warnings = texts(setup, found, Kind.WARNING)
    assert (warnings == []) if begin is None else (len(warnings) == 1 and warnings[0].startswith(begin))


def test_setting_that_config_does_not_show_cannot_be_checked() -> None:
    found = texts(MANAGED, facts(append_sync=None, pubsub_limit_bytes=None), Kind.UNKNOWN)
    assert found == ["`appendfsync` cannot be checked", "`client-output-buffer-limit pubsub` cannot be checked"]


@pytest.mark.parametrize(("setup", "version", "fits"), [(SINGLE, "6.2.7", True), (CLUSTER, "6.2.7", False), (CLUSTER, "7.0.15", True)])
def test_cluster_needs_a_version_with_sharded_channels(setup: BusSetup, version: str, fits: bool) -> None:
    assert (texts(setup, facts(version=version), Kind.UNFIT) == []) is fits


def test_findings_of_several_servers_name_their_addresses() -> None:
    server = Server("REDIS_URL", "redis://one", "one", "7000", "default", "0", True, CLUSTER)
    nodes = [
        facts(cluster=True, address="one:7000"),
        facts(cluster=True, append_sync="everysec", address="two:7001"),
        facts(cluster=True, append_sync="everysec", address="three:7002"),
        facts(cluster=True, version="6.2.7", address="four:7003"),
    ]
    every = [(finding, each.address) for each in nodes for row in BUS_CHECKS if (finding := row.judge(server, each))]
    assert [finding.text for finding in at_addresses(every)] == [
        "two:7001, three:7002: Redis needs `appendfsync always`: up to 1 s is lost otherwise (now: everysec)",
        "REDIS_URL: Redis 6.2.7 at four:7003 is too old: version 7.0 or newer is needed",
    ]


def test_finding_of_the_only_server_has_no_second_address() -> None:
    finding = Finding(Kind.WARNING, "Redis needs `appendfsync always`")
    assert at_addresses([(finding, "")]) == [finding]
