"""Settings of the bus: defaults that depend on the mode, and contradictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import Settings, SettingsError, load, mask_url
from config.urls import seeds_of
from tests.support.certificates import Authority

SEEDS = "redis://u:word1@one:7000,redis://u:word2@two:7001"


def settings(**environ: str) -> Settings:
    return load(environ, dotenv=None)


def problems(**environ: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        settings(**environ)
    return caught.value.problems


@pytest.mark.parametrize(
    ("environ", "shards", "replicas", "channels"),
    [
        ({}, 1, 0, "classic"),
        ({"BUS_SHARDS": "4"}, 4, 0, "classic"),
        ({"REDIS_URL": "redis://one", "REDIS_FAILOVER": "1"}, 1, 1, "classic"),
        ({"REDIS_HOST": "one", "BUS_WAIT_REPLICAS": "2"}, 1, 2, "classic"),
        ({"REDIS_HOST": "one", "REDIS_DB": "2", "REDIS_MODE": "sentinel"}, 1, 1, "classic"),
        ({"REDIS_URL": SEEDS, "REDIS_MODE": "sentinel"}, 1, 1, "classic"),
        ({"REDIS_URL": SEEDS, "REDIS_MODE": "cluster"}, 16, 1, "sharded"),
        ({"REDIS_HOST": "one", "REDIS_MODE": "cluster"}, 16, 1, "sharded"),
        ({"REDIS_URL": SEEDS, "REDIS_MODE": "cluster", "BUS_WAIT_REPLICAS": "0", "BUS_CHANNELS": "both"}, 16, 0, "both"),
    ],
)
def test_defaults_follow_the_mode(environ: dict[str, str], shards: int, replicas: int, channels: str) -> None:
    chosen = settings(**environ)
    assert (chosen.bus_shards, chosen.bus_wait_replicas, chosen.bus_channels) == (shards, replicas, channels)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"REDIS_URL": SEEDS}, "REDIS_URL"),
        ({"REDIS_URL": "redis://one,two"}, "REDIS_URL"),
        ({"REDIS_MODE": "cluster"}, "REDIS_URL"),
        ({"REDIS_MODE": "sentinel"}, "REDIS_URL"),
        ({"REDIS_MODE": "cluster", "REDIS_URL": "redis://one/1"}, "REDIS_URL"),
        ({"REDIS_MODE": "cluster", "REDIS_URL": "redis://one,two?db=2"}, "REDIS_URL"),
        ({"REDIS_MODE": "cluster", "REDIS_HOST": "one", "REDIS_DB": "2"}, "REDIS_DB"),
        ({"REDIS_MODE": "cluster", "REDIS_URL": "unix:///run/redis"}, "REDIS_URL"),
        ({"REDIS_MODE": "cluster", "REDIS_URL": "redis://one,rediss://two"}, "REDIS_URL"),
        ({"REDIS_MODE": "cluster", "REDIS_URL": "redis://one", "BUS_SHARDS": "1"}, "BUS_SHARDS"),
        ({"BUS_SHARDS": "3"}, "BUS_SHARDS"),
        ({"BUS_CHANNELS": "sharded"}, "BUS_CHANNELS"),
        ({"BUS_CHANNELS": "both"}, "BUS_CHANNELS"),
        ({"REDIS_MODE": "sentinel", "REDIS_URL": "redis://one", "REDIS_FAILOVER": "1"}, "REDIS_FAILOVER"),
        ({"REDIS_FAILOVER": "2"}, "REDIS_FAILOVER"),
        ({"REDIS_FAILOVER": "1"}, "REDIS_FAILOVER"),
        ({"BUS_WAIT_REPLICAS": "1"}, "BUS_WAIT_REPLICAS"),
        ({"BUS_WAIT_MS": "0"}, "BUS_WAIT_MS"),
        ({"REDIS_URL": "redis://one", "REDIS_TLS_CA": __file__}, "REDIS_TLS_CA"),
        ({"REDIS_URL": "rediss://one", "REDIS_TLS_CA": "/nowhere/ca.pem"}, "REDIS_TLS_CA"),
        ({"REDIS_URL": "rediss://one", "REDIS_TLS_CERT": __file__}, "REDIS_TLS_KEY"),
        ({"REDIS_URL": "rediss://one", "REDIS_TLS_KEY": __file__}, "REDIS_TLS_CERT"),
        ({"REDIS_URL": "rediss://one", "REDIS_TLS_CA": __file__}, "REDIS_TLS_CA"),
        ({"REDIS_URL": "rediss://one", "REDIS_TLS_CERT": __file__, "REDIS_TLS_KEY": __file__}, "REDIS_TLS_KEY"),
    ],
)
def test_contradiction_names_its_setting(environ: dict[str, str], name: str) -> None:
    assert list(problems(**environ)) == [name]


def test_certificate_and_key_are_files_of_the_setting(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    one, other = authority.sign("one", "one"), authority.sign("other", "other")
    environ = {"REDIS_URL": "rediss://one", "REDIS_TLS_CA": str(authority.file), "REDIS_TLS_CERT": str(one.certificate)}
    chosen = settings(**environ, REDIS_TLS_KEY=str(one.key))
    assert (chosen.redis_tls_ca, chosen.redis_tls_cert, chosen.redis_tls_key) == (authority.file, one.certificate, one.key)
    assert problems(**environ, REDIS_TLS_KEY=str(other.key)) == {
        "REDIS_TLS_KEY": f"{other.key} cannot be read as the key of REDIS_TLS_CERT in PEM: key values mismatch."
    }


def test_passwords_of_all_seeds_are_masked() -> None:
    chosen = settings(REDIS_URL=SEEDS, REDIS_MODE="cluster")
    assert mask_url(str(chosen.redis_url)) == "redis://u:***@one:7000,redis://u:***@two:7001"
    assert "word" not in repr(chosen)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("", ()),
        ("redis://one:7000/0", ("redis://one:7000/0",)),
        (SEEDS, ("redis://u:word1@one:7000", "redis://u:word2@two:7001")),
        ("redis://:word@one:7000,two:7001/0?a=b,c", ("redis://:word@one:7000/0?a=b,c", "redis://:word@two:7001/0?a=b,c")),
        ("redis://:a,b@one:7000", ("redis://:a,b@one:7000",)),
        ("unix:///run/redis,1.sock", ("unix:///run/redis,1.sock",)),
    ],
)
def test_seeds_of_a_list(text: str, seeds: tuple[str, ...]) -> None:
    assert seeds_of(text) == seeds
