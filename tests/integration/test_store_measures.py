"""The use of a connection pool, as PostgreSQL and a full pool cause it."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from db.postgres import RowError, Store, StoreError
from health.measures.process import new_exposition


def test_pool_counts_its_use_its_waits_and_its_errors(database_url: str) -> None:
    with closing(Store(database_url, pool_max=1, timeout_ms=200)) as store:
        other = store.with_limits(pool_max=2, timeout_ms=200)
        with store.transaction() as cursor, other.transaction():
            assert (store.measures.in_use, store.measures.size) == (2, 3)
            cursor.execute("CREATE TEMP TABLE once (id int PRIMARY KEY) ON COMMIT DROP")
            with pytest.raises(StoreError), store.transaction():
                pass  # a full pool
        with pytest.raises(StoreError), store.transaction() as cursor:
            cursor.execute("SELECT pg_sleep(5)")  # the statement takes too long
        with pytest.raises(RowError), store.transaction() as cursor:
            cursor.execute("SELECT 'x'::int")
        with pytest.raises(psycopg2.ProgrammingError), store.transaction() as cursor:
            cursor.execute("SELECT FROM nothing")
        with (
            pytest.raises(StoreError),
            closing(Store("postgresql://127.0.0.1:1/none", measures=store.measures)) as away,
            away.transaction(),
        ):
            pass
        families = new_exposition("rest", stores=[store, other]).families()
        other.close()
    assert {labels["kind"]: value for _, labels, value in families["tickwire_db_errors_total"]} == {
        "timeout": 2,
        "refused": 2,
        "unavailable": 1,
    }
    assert families["tickwire_db_pool_in_use"] == [("", {}, 0)]
    assert families["tickwire_db_pool_size"] == [("", {}, 23)]
    counts = {name: found[-1][2] for name, found in families.items() if name.endswith("_seconds") and name.startswith("tickwire_db_")}
    assert counts == {"tickwire_db_pool_wait_seconds": 7, "tickwire_db_transaction_seconds": 6}
    waits = {labels["le"]: value for suffix, labels, value in families["tickwire_db_pool_wait_seconds"] if suffix == "_bucket"}
    assert (waits["0.1"], waits["1.0"]) == (6, 7)
