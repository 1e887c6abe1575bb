"""The certificate of HUB_PUBLIC_URL: when it expires."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from cryptography import x509

from ops.doctor.parallel import Answer, Missing
from ops.doctor.results import Result, failure, result, unknown, warning

SOON = timedelta(days=14)


def expiry(url: str | None, seconds: float) -> datetime | None:
    """Return the end of the certificate at `url`; None without https. Raises `OSError`.

    The certificate is read, not verified: its trust depends on the machine of the client.
    """
    parts = urlsplit(url or "")
    if parts.scheme != "https" or not parts.hostname:
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((parts.hostname, parts.port or 443), timeout=seconds) as connection,
        context.wrap_socket(connection, server_hostname=parts.hostname) as secured,
    ):
        found = secured.getpeercert(binary_form=True)
    if not found:
        raise ValueError("the server sends no certificate")
    return x509.load_der_x509_certificate(found).not_valid_after_utc


def judge(url: str | None, answer: Answer[datetime | None], now: float) -> Result:
    """Return the result of the check; `now` is in Unix seconds."""
    if isinstance(answer, Missing):
        remedy = "HUB_PUBLIC_URL must lead to the proxy, also from this machine"
        return result("certificate", "", [unknown(f"cannot be checked at {url} ({answer.reason})", remedy)])
    if answer is None:
        return result("certificate", "HUB_PUBLIC_URL has no https")
    left, day = answer - datetime.fromtimestamp(now, UTC), f"{answer:%Y-%m-%d}"
    remedy = f"renew the certificate of HUB_PUBLIC_URL {url} (with certbot: `certbot renew`)"
    if left <= timedelta(0):
        return result("certificate", "", [failure(f"expired on {day}", remedy)])
    soon = [warning(f"expires on {day}, in {left.days} days", remedy)] if left < SOON else []
    return result("certificate", f"valid until {day}", soon)
