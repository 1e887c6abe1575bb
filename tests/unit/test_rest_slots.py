"""Slots: a limited number at once, and no queue behind hanging requests."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from api.errors import HTTP_STATUS, Refusal
from api.rest.limits.slots import ExportSlots, Slot, Slots


def test_slot_released_twice_is_one_slot() -> None:
    slots = Slots(1, patience=0)
    slot = slots.take()
    assert slot is not None
    assert slots.take() is None
    slot.release()
    slot.release()
    assert slots.take() is not None
    assert slots.take() is None


def test_late_request_waits_for_the_next_free_slot() -> None:
    slots = Slots(1, patience=60)
    first = slots.take()
    assert first is not None
    got: list[Slot | None] = []
    waiter = threading.Thread(target=lambda: got.append(slots.take()))
    waiter.start()
    first.release()
    waiter.join(60)
    assert got[0] is not None


def test_request_waits_if_the_slots_were_idle_before_they_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("api.rest.limits.slots.time", SimpleNamespace(monotonic=lambda: now[0]))
    slots = Slots(1, patience=30)
    now[0] = 100.0
    first = slots.take()
    assert first is not None
    timer = threading.Timer(0.05, first.release)
    timer.start()
    assert slots.take() is not None
    now[0] = 200.0
    assert slots.take() is None  # the holder hangs
    timer.join()


def test_client_has_its_share_of_the_exports_and_another_one_the_rest() -> None:
    slots = ExportSlots(limit=3, per_client=2)
    first, second = slots.take("192.0.2.1"), slots.take("192.0.2.1")
    with pytest.raises(Refusal, match="2 exports of yours"):
        slots.take("192.0.2.1")
    slots.take("192.0.2.2")
    with pytest.raises(Refusal, match="too many exports") as refused:
        slots.take("192.0.2.2")
    assert (HTTP_STATUS[refused.value.code], refused.value.code) == (429, "too_many_requests")
    for each in (first, first, second):
        each.release()
    slots.take("192.0.2.1")
    slots.take("192.0.2.1")


def test_exempt_client_is_limited_by_the_total_alone() -> None:
    slots = ExportSlots(limit=3, per_client=2)
    for _ in range(3):
        slots.take(None)
    with pytest.raises(Refusal, match="too many exports"):
        slots.take(None)
