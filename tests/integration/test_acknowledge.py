"""Acknowledgements of alerts, by the role of hub and REST: each alert once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from api.access.model import Access, anonymous
from api.acknowledgement import acknowledge_alert
from api.errors import ErrorCode, Refusal
from api.schemas.alerts import AcknowledgeAlertSchema
from config.access.patterns import EVERYTHING
from config.access.scopes import OPERATE
from db.alerts import (
    Acknowledgement,
    Alert,
    SystemAlert,
    acknowledge,
    count_firing,
    raise_alert,
    resolve_alerts,
    unpublished_alerts,
    write_alerts,
)
from db.postgres import Store
from tests.conftest import Servers, new_database
from tests.support.servers import as_role
from tests.support.store import select

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
COLUMNS = "state, acknowledged_at, acknowledged_by, comment, updated_at, resolved_at"


@pytest.fixture(scope="module")
def database(servers: Servers) -> Iterator[str]:
    with new_database(servers) as url:
        yield url


@pytest.fixture(scope="module")
def writer(database: str) -> Iterator[Store]:
    with closing(Store(as_role(database, "tickwire_writer"))) as store:
        yield store


@pytest.fixture(scope="module")
def reader(database: str) -> Iterator[Store]:
    with closing(Store(as_role(database, "tickwire_reader"))) as store:
        yield store


@pytest.fixture
def disk(writer: Store) -> str:
    """The id of the only alert, which fires."""
    alert = SystemAlert("system", "disk", "critical", NOON, 96.1, 95, "Disk usage 96.1 % is above 95 %.")
    with writer.transaction() as cursor:
        cursor.execute("DELETE FROM alerts")
        assert raise_alert(cursor, alert)
    return alert.alert_id


def stored(store: Store) -> list[tuple[object, ...]]:
    return select(store, f"SELECT {COLUMNS} FROM alerts")  # noqa: S608


def test_alert_id_is_type_subject_severity_and_milliseconds(disk: str) -> None:
    assert disk == "system:disk:critical:1763467200000"


def test_acknowledgement_changes_one_row_once(reader: Store, disk: str) -> None:
    done = []
    for number, (name, comment) in enumerate([("ada", "on it"), ("bob", None)]):
        with reader.transaction() as cursor:
            assert count_firing(cursor) == 1 - number
        with reader.transaction() as cursor:
            done.append(acknowledge(cursor, disk, name, comment, NOON + (number + 1) * SECOND))
    assert done == [Acknowledgement(outcome, disk, NOON + SECOND, "ada") for outcome in ("acknowledged", "repeated")]
    assert stored(reader) == [("acknowledged", NOON + SECOND, "ada", "on it", NOON + SECOND, None)]


def test_resolved_and_unknown_alerts_cannot_be_acknowledged(reader: Store, writer: Store, disk: str) -> None:
    with writer.transaction() as cursor:
        assert resolve_alerts(cursor, ["system:disk"], NOON + SECOND) == [disk]
    before = stored(reader)
    for alert_id, outcome in ((disk, "resolved"), ("system:disk:critical:1", "unknown"), ("\0", "unknown"), ("", "unknown")):
        with reader.transaction() as cursor:
            assert acknowledge(cursor, alert_id, "ada", None, NOON + 2 * SECOND) == Acknowledgement(outcome, alert_id)  # type: ignore[arg-type]
    assert stored(reader) == before == [("resolved", None, None, None, NOON + SECOND, NOON + SECOND)]


def test_second_of_two_simultaneous_acknowledgements_gets_the_answer_of_the_first(reader: Store, disk: str) -> None:
    second: list[Acknowledgement] = []
    begun = threading.Event()

    def repeat() -> None:
        with reader.transaction() as cursor:
            begun.set()
            second.append(acknowledge(cursor, disk, "bob", "mine", NOON + 2 * SECOND))

    thread = threading.Thread(target=repeat)
    with reader.transaction() as cursor:
        assert acknowledge(cursor, disk, "ada", None, NOON + SECOND).outcome == "acknowledged"
        thread.start()
        assert begun.wait(60)
    thread.join(60)
    assert second == [Acknowledgement("repeated", disk, NOON + SECOND, "ada")]
    assert stored(reader) == [("acknowledged", NOON + SECOND, "ada", None, NOON + SECOND, None)]


def test_many_threads_acknowledge_one_row(reader: Store, disk: str) -> None:
    outcomes: list[Acknowledgement] = []

    def run(number: int) -> None:
        with reader.transaction() as cursor:
            outcomes.append(acknowledge(cursor, disk, f"p{number}", None, NOON + number * SECOND))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(each.outcome for each in outcomes) == ["acknowledged", *["repeated"] * 7]
    assert len({(each.at, each.by) for each in outcomes}) == 1


def test_alerts_of_the_system_are_not_published_as_figures(writer: Store, disk: str) -> None:
    with writer.transaction() as cursor:
        write_alerts(cursor, [Alert("volatility", "EUR_USD", None, "warning", NOON, 0.03, None, 0.02, "above")])
        assert [alert.type for _, alert in unpublished_alerts(cursor)] == ["volatility"]
        again = SystemAlert("system", "disk", "critical", NOON + SECOND, 97, 95, "")
        assert not raise_alert(cursor, again), "one alert of a key and severity is open"


# the answer of REST and the hub


def test_name_of_the_credential_is_stored_and_not_the_given_one(reader: Store, disk: str) -> None:
    key = Access(frozenset({OPERATE}), EVERYTHING, key_id="0123456789abcdef", name="desk")
    expected = {"status": "acknowledged", "alert_id": disk, "acknowledged_at": "2025-11-18T12:00:01.000000Z", "acknowledged_by": "desk"}
    assert acknowledge_alert(reader, key, disk, {"by": "ada", "comment": "on it"}, NOON + SECOND) == expected
    assert acknowledge_alert(reader, anonymous(), disk, {"by": "bob"}, NOON + 2 * SECOND) == expected


@pytest.mark.parametrize(("given", "name"), [({"by": "ada"}, "ada"), ({}, None), ({"by": None, "comment": None}, None), ({"by": ""}, None)])
def test_anonymous_caller_may_give_a_name(reader: Store, disk: str, given: dict[str, str | None], name: str | None) -> None:
    assert acknowledge_alert(reader, anonymous(), disk, given, NOON)["acknowledged_by"] == name


def test_refusals_name_the_alert(reader: Store, writer: Store, disk: str) -> None:
    with pytest.raises(Refusal, match="no such alert") as unknown:
        acknowledge_alert(reader, anonymous(), "nope", {}, NOON)
    with writer.transaction() as cursor:
        resolve_alerts(cursor, ["system:disk"], NOON)
    with pytest.raises(Refusal, match="resolved") as resolved:
        acknowledge_alert(reader, anonymous(), disk, {}, NOON)
    assert (unknown.value.code, unknown.value.details) == (ErrorCode.NOT_FOUND, {"alert_id": ["nope"]})
    assert (resolved.value.code, resolved.value.details) == (ErrorCode.CONFLICT, {"alert_id": [disk]})


@given(st.dictionaries(st.sampled_from(["by", "comment", "alert_id", "more"]), st.none() | st.integers() | st.text()))
def test_texts_that_the_store_does_not_take_are_refused(body: dict[str, object]) -> None:
    try:
        loaded = AcknowledgeAlertSchema().load(body)
    except ValidationError:
        return
    assert set(loaded) <= {"by", "comment", "alert_id"}
    assert "\0" not in f"{loaded.get('by')}{loaded.get('comment')}"


@pytest.mark.parametrize(
    ("body", "field"),
    [({"alert_id": "a", "by": "a" * 65}, "by"), ({"alert_id": "a", "comment": "\0"}, "comment"), ({}, "alert_id"),
     ({"alert_id": ""}, "alert_id"), ({"alert_id": "a", "comment": "a" * 1001}, "comment")],
)  # fmt: skip
def test_error_names_the_field(body: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AcknowledgeAlertSchema().load(body)
    assert set(refused.value.messages_dict) == {field}
