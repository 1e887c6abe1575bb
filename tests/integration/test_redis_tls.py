"""TLS to Redis: certificates and host names are always checked, and a refusal names its setting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from config.settings import load
from db.bus import Bus, BusSetup
from db.timestamps import utc_now
from ops.bus.setup import setup_of
from ops.checks import bus_server, judge_bus
from ops.servers import Finding, Kind
from tests.integration.test_bus import tick
from tests.support.certificates import Authority, Certificate
from tests.support.redis_servers import Cluster, RedisServer, require_redis, running


@dataclass(frozen=True)
class Place:
    """A Redis with a certificate for localhost, and one with a certificate for another host."""

    right: RedisServer
    wrong: RedisServer
    authority: Authority
    other: Authority
    client: Certificate
    foreign: Certificate  # of the other authority

    def findings(self, server: RedisServer, ca: Path | None, client: Certificate | None, query: str = "") -> list[Finding]:
        """The findings at the start of a process with these settings."""
        environ = {"REDIS_URL": f"rediss://localhost:{server.port}/0{query}"}
        if ca is not None:
            environ["REDIS_TLS_CA"] = str(ca)
        if client is not None:
            environ |= {"REDIS_TLS_CERT": str(client.certificate), "REDIS_TLS_KEY": str(client.key)}
        chosen = load(environ, dotenv=None)
        found = judge_bus("jobs", bus_server(str(chosen.redis_url), "REDIS_URL", setup_of(chosen)))
        return [finding for finding in found if finding.kind in (Kind.UNFIT, Kind.UNREACHED)]


def tls(authority: Authority, certificate: Certificate, port: int) -> dict[str, str]:
    """The options of a server that needs certificates of its clients."""
    return {
        "tls-port": str(port),
        "tls-cert-file": str(certificate.certificate),
        "tls-key-file": str(certificate.key),
        "tls-ca-cert-file": str(authority.file),
    }


def server(folder: Path, authority: Authority, certificate: Certificate, **options: str) -> RedisServer:
    made = RedisServer(folder)
    return RedisServer(folder, {"port": "0", **tls(authority, certificate, made.port), **options}, port=made.port)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    require_redis()
    folder = tmp_path_factory.mktemp("tls")
    authority, other = Authority(folder, "authority"), Authority(folder, "other")
    right = server(folder / "right", authority, authority.sign("server", "localhost", "127.0.0.1"))
    wrong = server(folder / "wrong", authority, authority.sign("elsewhere", "redis.example"))
    client = authority.sign("client")
    files = {"ssl": True, "ssl_ca_certs": authority.file, "ssl_certfile": client.certificate, "ssl_keyfile": client.key}
    with running(right, wrong):
        right.start(files)
        wrong.start({**files, "ssl_check_hostname": False})
        yield Place(right, wrong, authority, other, client, other.sign("foreign"))


def test_server_of_the_own_authority_is_accepted(place: Place) -> None:
    assert place.findings(place.right, place.authority.file, place.client) == []


@pytest.mark.parametrize("query", ["", "?ssl_cert_reqs=none", "?ssl_check_hostname=False"])
def test_certificate_for_another_host_is_refused(place: Place, query: str) -> None:
    [finding] = place.findings(place.wrong, place.authority.file, place.client, query)
    assert (finding.kind, finding.text.partition(":")[0]) == (Kind.UNFIT, "REDIS_URL")


@pytest.mark.parametrize("query", ["", "?ssl_cert_reqs=none"])
def test_certificate_of_an_unknown_authority_is_refused(place: Place, query: str) -> None:
    for ca in (place.other.file, None):
        [finding] = place.findings(place.right, ca, place.client, query)
        assert (finding.kind, finding.text.partition(":")[0]) == (Kind.UNFIT, "REDIS_TLS_CA")


def test_client_without_a_certificate_of_the_servers_authority_is_refused(place: Place) -> None:
    for client in (None, place.foreign):
        [finding] = place.findings(place.right, place.authority.file, client)
        assert (finding.kind, finding.text.partition(":")[0]) == (Kind.UNFIT, "REDIS_TLS_CERT"), finding.text


def test_every_node_of_a_cluster_is_reached_by_tls(place: Place, tmp_path: Path) -> None:
    certificate = place.authority.sign("nodes", "localhost", "127.0.0.1")
    options = {"cluster-enabled": "yes", "tls-cluster": "yes", "tls-auth-clients": "optional"}
    nodes = [server(tmp_path / f"m{number}", place.authority, certificate, **options) for number in range(2)]
    files = {"ssl": True, "ssl_ca_certs": place.authority.file}
    setup = BusSetup("cluster", shards=4, failover=True, tls_ca=str(place.authority.file), seeds=(f"rediss://localhost:{nodes[0].port}",))
    with running(*nodes), ExitStack() as stack:
        for node in nodes:
            node.start(files)
        Cluster(nodes, client_options=files).form()
        bus = stack.enter_context(closing(Bus("", utc_now, setup=setup)))
        bus.set_instruments({"EUR_USD": "fx", "USD_JPY": "fx"})
        assert [stamp.seq for stamp in bus.publish_prices([tick(1), tick(2, "USD_JPY"), tick(3)])] == [1, 1, 2]
        assert len({bus.shard_of("price_updates", name) for name in ("EUR_USD", "USD_JPY")}) == 2
