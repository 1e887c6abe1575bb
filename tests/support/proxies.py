"""The proxies of `config/nginx` and `config/haproxy`, before two hubs."""

from __future__ import annotations

import os
import re
import shutil
import socket
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.conftest import until
from tests.support.answers import get
from tests.support.ports import free_port
from tests.support.processes import ROOT, Running, Web

FILES = {"nginx": "hub.conf", "haproxy": "hub.cfg"}
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin"])  # Debian's folders, which a user's PATH may lack


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    return found or pytest.skip(f"{name} is not installed")


class Proxy(Running):
    """The program on a copy of our files that differs in the four ports only.

    With `certificate`, a file of certificate and key, it has the line of TLS that the files name.
    """

    def __init__(self, name: str, folder: Path, *, hubs: tuple[Web, Web], rest: int, certificate: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http{'' if certificate is None else 's'}://127.0.0.1:{self.port}"
        self._certificate = certificate
        ours = {"8080": self.port, "5001": hubs[0].port, "5002": hubs[1].port, "5000": rest}
        folder.mkdir()
        for file in (ROOT / "config" / name).iterdir():
            text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda port: str(ours[port[0]]), file.read_text())
            if certificate is not None:
                text = re.sub(r"listen ([\d.:]+);", rf"listen \1 ssl; {certificate_of(certificate)} include tls.conf;", text)
                text = re.sub(r"(?<=bind )([\d.:]+)", rf"\1 ssl crt {certificate}", text)
            (folder / file.name).write_text(text)
        super().__init__(command(name, folder, folder / FILES[name]), {}, folder / "log")

    def start(self) -> None:
        super().start()
        until(self._answers, 30, "an answer through the proxy")

    def _answers(self) -> bool:
        assert self.popen is not None
        assert self.popen.poll() is None, self.output()
        if self._certificate is not None:
            return listens(self)
        return get(self.url, "/hub/health")[0] == 200


def certificate_of(file: Path) -> str:
    return f"ssl_certificate {file}; ssl_certificate_key {file};"


def make_certificate(file: Path) -> Path:
    """Write a certificate of 127.0.0.1 that signs itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begin = datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), begin, begin + timedelta(days=1))
    signed = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False).sign(
        key, SHA256()
    )
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(signed.public_bytes(Encoding.PEM) + text)
    return file


def command(name: str, folder: Path, file: Path) -> list[str]:
    """Return the command that the files document."""
    if name == "nginx":
        return [program(name), "-e", "stderr", "-p", str(folder), "-c", str(file)]
    return [program(name), "-f", str(file)]


def listens(hub: Web | Proxy) -> bool:
    """Return True if the process accepts connections, healthy or not."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", hub.port)) == 0
