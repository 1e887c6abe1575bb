"""Slots: a limited number at once, and no queue behind hanging requests."""

from __future__ import annotations

import threading

from api.rest.slots import Slot, Slots


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
