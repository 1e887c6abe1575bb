"""Failures of a connection to PostgreSQL, by the texts that libpq and servers send."""

from __future__ import annotations

import psycopg2
import pytest

from db import bounded as facts
from db.bounded import LoginRefused, Unreached
from db.server_facts import address_of

TCP = 'connection to server at "db.example" (192.0.2.1), port 5432 failed: '
# text of psycopg2 -> kind of the refusal, or None if the server may answer later
TEXTS: dict[str, str | None] = {
    "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?\n": None,
    'could not translate host name "db.example" to address: Name or service not known\n': None,
    TCP + "timeout expired\n": None,
    TCP + "server closed the connection unexpectedly\n\tThis probably means the server terminated abnormally\n": None,
    TCP + "SSL SYSCALL error: EOF detected\n": None,
    TCP + "FATAL:  the database system is starting up\n": None,
    TCP + "FATAL:  the database system is shutting down\n": None,
    TCP + "FATAL:  the database system is not yet accepting connections\nDETAIL:  Recovery goes on.\n": None,
    TCP + "FATAL:  sorry, too many clients already\n": None,
    TCP + "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute\n": None,
    TCP + 'FATAL:  role "tick" does not exist\n': facts.ROLE_MISSING,
    TCP + 'FATAL:  password authentication failed for user "tick"\n': facts.PASSWORD,
    TCP + 'FATAL:  Peer authentication failed for user "tick"\n': facts.PASSWORD,
    TCP + "fe_sendauth: no password supplied\n": facts.PASSWORD,
    TCP + 'FATAL:  database "ticks" does not exist\n': facts.DATABASE_MISSING,
    TCP + 'FATAL:  permission denied for database "ticks"\nDETAIL:  User does not have CONNECT privilege.\n': facts.NO_CONNECT,
    TCP + 'FATAL:  role "tick" is not permitted to log in\n': facts.NO_LOGIN,
    TCP + 'FATAL:  no pg_hba.conf entry for host "192.0.2.9", user "tick", database "ticks", SSL encryption\n'
    + TCP + 'FATAL:  no pg_hba.conf entry for host "192.0.2.9", user "tick", database "ticks", no encryption\n': facts.NO_ENTRY,
    TCP + "server does not support SSL, but SSL was required\n": "",
    TCP + 'FATAL:  database "ticks" is not currently accepting connections\n': "",
    TCP + "FATAL:  Passwort-Authentifizierung für Benutzer »tick« fehlgeschlagen\n": "",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_decides_between_a_refusal_and_a_server_that_may_answer_later(text: str) -> None:
    failure = facts._failure(psycopg2.OperationalError(text))
    kind = TEXTS[text]
    assert type(failure) is (Unreached if kind is None else LoginRefused)
    assert getattr(failure, "kind", None) == kind
    assert not str(failure).startswith(("connection to server", "FATAL"))
    assert "\n" not in str(failure)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://tick:word@db.example:6432/ticks?sslmode=require", ("db.example", "6432", "tick", "ticks")),
        ("postgres://tick@db.example", ("db.example", "5432", "tick", "tick")),
        ("postgresql://a,b:6432/ticks?user=tick", ("a,b", ",6432", "tick", "ticks")),
        ("postgresql://tick@%2Frun%2Fpg:5432/ticks", ("/run/pg", "5432", "tick", "ticks")),
        ("postgresql://tick@db.example/ticks?nonsense=1", ("localhost", "5432", "?", "?")),
    ],
)
def test_place_of_a_url_is_that_of_libpq_without_its_password(url: str, place: tuple[str, ...]) -> None:
    found = address_of(url)
    assert (found.host, found.port, found.role, found.database) == place
