"""Facts about a whole PostgreSQL cluster, which another one must share to take over its files."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import psycopg2

from db.postgres import StoreError, first_line

_FACTS = """
SELECT (SELECT rolname FROM pg_roles WHERE oid = 10), pg_encoding_to_char(encoding), datlocprovider, datcollate, datctype,
       coalesce(to_jsonb(d) ->> 'daticulocale', to_jsonb(d) ->> 'datlocale'), current_setting('data_checksums') = 'on',
       (SELECT sum(pg_database_size(oid)) FROM pg_database), current_setting('server_version')
FROM pg_database d WHERE datname = 'template0'
"""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """Names and forms that `initdb` decides; `icu_locale` is None unless ICU compares texts."""

    superuser: str
    encoding: str
    collate: str
    ctype: str
    icu_locale: str | None
    checksums: bool
    size_bytes: int  # of all databases
    version: str

    @property
    def initdb_options(self) -> tuple[str, ...]:
        """The options of `initdb` for an equal cluster."""
        locale = ("--locale-provider=icu", f"--icu-locale={self.icu_locale}") if self.icu_locale else ("--locale-provider=libc",)
        checksums = "--data-checksums" if self.checksums else "--no-data-checksums"
        return (f"--encoding={self.encoding}", *locale, f"--lc-collate={self.collate}", f"--lc-ctype={self.ctype}", checksums)


def read_cluster(url: str) -> ClusterFacts:
    """Return the facts of the cluster behind any of its databases. Raises `StoreError`."""
    try:
        connection = psycopg2.connect(url, connect_timeout=10, application_name="tickwire-upgrade")
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(_FACTS)
            ((superuser, encoding, provider, collate, ctype, locale, checksums, size, version),) = cursor.fetchall()
    except psycopg2.Error as error:
        raise StoreError(first_line(error)) from error
    icu = str(locale) if provider == "i" else None
    return ClusterFacts(superuser, encoding, collate, ctype, icu, checksums, int(size), version)
