"""Public keys of tokens from a file and from real HTTP servers: limits, failures, and the times."""

from __future__ import annotations

import ipaddress
import json
import logging
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from api.access.tokens.header import Header
from api.access.tokens.keys import JwksError, PublicKeys
from api.errors import Refusal, Unauthorized
from api.refresh.jwks import JwksRefresh
from api.refresh.jwks_source import MAX_BYTES, download, read_file
from api.refresh.tokens import make_tokens
from config import settings as settings_module
from tests.conftest import until
from tests.support.canned_http import serving
from tests.support.tokens import AUDIENCE, ISSUER, PUBLIC, SECRET, claims, jwk, jwks, private_key, token

ROOT = Path(__file__).parents[2]
ADDRESS = "192.0.2.1"


class Service:
    """An identity service: the next answer, and the requests that it received."""

    def __init__(self) -> None:
        self.body = jwks()
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.write: Callable[[Any], None] | None = None  # in place of the answer
        self.url = ""

    @contextmanager
    def running(self, certificate: Path | None = None) -> Iterator[Service]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self) -> None:
                if certificate is not None:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(certificate)
                    self.request = context.wrap_socket(self.request, server_side=True)
                super().setup()

            def do_GET(self) -> None:
                service.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                if service.write is not None:
                    service.write(self.wfile)
                    return
                self.send_response(service.status)
                for name, value in ({"Content-Length": str(len(service.body))} | dict(service.headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(service.body)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                return

        with serving(Handler) as address:
            self.url = f"{'http' if certificate is None else 'https'}://{address}/keys"
            yield self


@pytest.fixture
def service() -> Iterator[Service]:
    with Service().running() as made:
        yield made


def error_of(call: Callable[[], object]) -> str:
    with pytest.raises(JwksError) as caught:
        call()
    return str(caught.value)


# one read


def test_download_returns_the_body_and_sends_no_credential(service: Service) -> None:
    assert download(f"{service.url}?tenant=a%20b#part") == service.body
    [(path, headers)] = service.requests
    assert path == "/keys?tenant=a%20b"
    assert set(headers) == {"host", "accept", "accept-encoding", "user-agent", "connection"}


@pytest.mark.parametrize("status", [204, 301, 302, 401, 404, 500])
def test_other_status_is_an_error(status: int, service: Service) -> None:
    service.status, service.headers, service.body = status, {"Location": service.url}, b""
    assert error_of(lambda: download(service.url)) == f"the answer has the status {status}"
    assert len(service.requests) == 1


def test_large_body_is_an_error(service: Service, tmp_path: Path) -> None:
    service.body = b" " * MAX_BYTES
    assert len(download(service.url)) == MAX_BYTES
    service.body += b" "
    assert error_of(lambda: download(service.url)) == "it has more than 256 KB"
    service.headers = {"Content-Length": str(10**12)}
    assert error_of(lambda: download(service.url)) == "it has more than 256 KB"
    path = tmp_path / "keys.json"
    path.write_bytes(service.body)
    assert error_of(lambda: read_file(path)) == "it has more than 256 KB"
    assert error_of(lambda: read_file(tmp_path / "missing")) == "the file cannot be read: No such file or directory"


@pytest.mark.parametrize("piece", [b"x", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"], ids=["status", "headers", "body"])
def test_slow_answer_has_one_deadline(piece: bytes, service: Service) -> None:
    """A server that sends one byte at a time restarts the timeout of a socket with each byte."""
    over = threading.Event()

    def drip(stream: Any) -> None:
        stream.write(piece)
        while not over.wait(0.02):
            stream.write(b"x")

    service.write = drip
    try:
        assert error_of(lambda: download(service.url, seconds=0.4)) == "no complete answer within 0.4 s"
    finally:
        over.set()


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"])
def test_broken_answer_is_an_error(answer: bytes, service: Service) -> None:
    service.write = lambda stream: stream.write(answer)
    error_of(lambda: download(service.url))


def test_server_that_is_away_is_an_error() -> None:
    with Service().running() as gone:
        url = gone.url
    assert error_of(lambda: download(url)).startswith("ConnectionRefusedError")
    error_of(lambda: download("https://name.invalid/keys", seconds=5))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 with its private key, as PEM."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")]), datetime.now(UTC)
    key = private_key("ES256")
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + pem)
    return path


def test_certificate_is_checked(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Service().running(certificate) as secure:
        assert "certificate verify failed" in error_of(lambda: download(secure.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert download(secure.url) == secure.body
        assert "certificate verify failed" in error_of(lambda: download(secure.url.replace("127.0.0.1", "localhost")))


IN_THE_HUB = """
import sys, warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
from api.refresh.jwks_source import download
ticks = []
def tick():
    while True:
        ticks.append(1)
        eventlet.sleep(0.01)
eventlet.spawn(tick)
for url in sys.argv[1:]:
    print(len(ticks), len(download(url)), len(ticks))
"""


def test_other_greenlets_run_while_the_hub_downloads(service: Service, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(stream: Any) -> None:
        time.sleep(0.3)  # the duration of an answer, not a wait of this test
        stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with Service().running(certificate) as secure:
        secure.write = service.write = late
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        command = [sys.executable, "-c", IN_THE_HUB, service.url, secure.url]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    for before, size, after in (map(int, line.split()) for line in output.splitlines()):
        assert size == 2
        assert after > before


# the loop


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def refresh_of(service: Service, clock: Clock) -> tuple[JwksRefresh, PublicKeys]:
    keys = PublicKeys()
    return JwksRefresh(keys, PUBLIC, partial(download, service.url), service.url, monotonic=clock), keys


def has(keys: PublicKeys, kid: str, algorithm: str = "EdDSA") -> bool:
    try:
        return keys.find(Header(algorithm, kid)) is not None
    except Refusal:
        return False


def test_keys_are_read_at_the_start_and_every_ten_minutes(service: Service) -> None:
    clock = Clock()
    refresh, keys = refresh_of(service, clock)
    assert refresh.due()
    refresh.read()
    assert has(keys, "EdDSA")
    clock.now = 599.0
    assert not refresh.due()
    clock.now = 600.0
    assert refresh.due()


def test_unknown_key_id_causes_a_read_at_most_once_in_30_seconds(service: Service) -> None:
    clock = Clock()
    refresh, keys = refresh_of(service, clock)
    refresh.read()
    with pytest.raises(Unauthorized):
        keys.find(Header("EdDSA", "new"))
    clock.now = 29.0
    assert not refresh.due()
    clock.now = 30.0
    assert refresh.due()
    service.body = jwks(jwk("EdDSA", "new", 1))
    refresh.read()
    assert (has(keys, "new"), has(keys, "EdDSA"), keys.generation) == (True, False, 1)
    clock.now = 60.0
    assert refresh.due()  # `has` asked for a key that is gone
    refresh.read()
    clock.now = 90.0
    assert not refresh.due()


def test_last_good_set_is_kept(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "api.refresh.jwks")
    clock = Clock()
    refresh, keys = refresh_of(service, clock)
    refresh.read()
    for service.status, service.body in ((500, jwks()), (200, b"<html>"), (200, jwks(*[jwk("EdDSA")] * 51)), (200, b'{"keys": []}')):
        clock.now += 30.0
        refresh.read()
        assert has(keys, "EdDSA")
        assert not refresh.due()
        clock.now += 30.0
        assert refresh.due()  # not only after 10 minutes
    service.body = jwks()
    refresh.read()
    texts = [(record.levelname, record.getMessage()) for record in caplog.records]
    failed = "the public keys of tokens cannot be read: the last ones stay in force"
    assert texts == [("INFO", "the public keys of tokens were read"), ("WARNING", failed), ("INFO", f"recovered: {failed}")]
    assert [vars(record)["reason"] for record in caplog.records if record.levelname == "WARNING"] == ["the answer has the status 500"]
    assert keys.generation == 0


def test_loop_reads_keys_until_it_is_stopped(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    keys = PublicKeys()
    fetches = iter([RuntimeError("a bug")])

    def fetch() -> bytes:
        for error in fetches:
            raise error
        return download(service.url)

    start = time.monotonic()
    refresh = JwksRefresh(keys, PUBLIC, fetch, service.url, monotonic=lambda: start + 3000 * (time.monotonic() - start))
    stop = threading.Event()
    thread = threading.Thread(target=refresh.run, args=(stop,))
    thread.start()
    until(lambda: has(keys, "EdDSA"), 20, "the keys")
    service.body = jwks(jwk("EdDSA", "new", 1))
    until(lambda: has(keys, "new"), 20, "the new key")
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True]


# the settings


def made(*, url: str | None = None, file: Path | None = None, **environ: str) -> settings_module.Settings:
    given = {"JWT_ALGORITHMS": ",".join(PUBLIC), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE, "JWT_JWKS_URL": url, "JWT_JWKS_FILE": file}
    return settings_module.load({name: str(value) for name, value in {**given, **environ}.items() if value}, dotenv=None)


def test_parts_follow_the_settings(service: Service, tmp_path: Path) -> None:
    def clock() -> datetime:
        return datetime.now(UTC)

    text = token("EdDSA", claims(time.time()))
    assert make_tokens(settings_module.load({}, dotenv=None), clock, None) == (None, None)

    secret = make_tokens(made(JWT_ALGORITHMS="HS256", JWT_SECRET=SECRET), clock, None)
    assert secret.verifier is not None
    assert secret.refresh is None
    assert secret.verifier.verify(token("HS256", claims(time.time())), ADDRESS).subject == "ada"

    path = tmp_path / "keys.json"
    path.write_bytes(jwks())
    from_file = make_tokens(made(file=path), clock, None)
    assert from_file.verifier is not None
    assert from_file.verifier.verify(text, ADDRESS).subject == "ada"  # without the loop

    # a secret that no algorithm uses is ignored
    from_url = make_tokens(made(url=service.url, JWT_SECRET=SECRET, JWT_SECRET_FILE=str(tmp_path / "missing")), clock, None)
    assert from_url.verifier is not None
    assert from_url.refresh is not None
    assert service.requests == []
    with pytest.raises(Refusal, match="not been read yet"):
        from_url.verifier.verify(text, ADDRESS)
    assert service.requests == []  # never on the path of a request
    from_url.refresh.read()
    assert from_url.verifier.verify(text, ADDRESS).subject == "ada"


@pytest.mark.parametrize("secret", [json.dumps(jwk("EdDSA")), f"-----BEGIN PUBLIC KEY-----\n{'x' * 40}", "ssh-ed25519 AAAA" + "x" * 40])
def test_public_key_as_a_secret_is_a_settings_error(secret: str) -> None:
    with pytest.raises(settings_module.SettingsError) as caught:
        made(JWT_ALGORITHMS="HS256", JWT_SECRET=secret)
    assert set(caught.value.problems) == {"JWT_SECRET"}
    assert secret not in str(caught.value)
