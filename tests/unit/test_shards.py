"""Shards of the bus: where Redis Cluster places them, and the instruments in them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from redis.crc import key_slot

from db.shards import SIZES, SLOTS, TAGS, shard_of, sharded_key, slot_of

GOLDEN = Path(__file__).parents[1] / "data" / "shards_of_instruments.json"


@pytest.mark.parametrize("shards", TAGS)
def test_slot_of_every_tag_is_near_the_middle_of_its_share(shards: int) -> None:
    assert len(set(TAGS[shards])) == shards
    for shard, tag in enumerate(TAGS[shards]):
        slot = key_slot(f"{{{tag}}}".encode())  # of redis-py
        assert abs(slot - (shard + 0.5) * SLOTS / shards) <= 20
        assert slot * shards // SLOTS == shard


def test_slots_of_sixteen_shards() -> None:
    expected = [511, 1535, 2562, 3603, 4607, 5640, 6658, 7692, 8697, 9721, 10749, 11773, 12793, 13824, 14845, 15876]
    assert [slot_of(f"tickwire:{{{tag}}}:seq".encode()) for tag in TAGS[16]] == expected


def test_thirty_two_shards_are_even_on_six_nodes() -> None:
    nodes = Counter(slot_of(tag.encode()) * 6 // SLOTS for tag in TAGS[32])
    assert [nodes[node] for node in range(6)] == [5, 6, 5, 5, 6, 5]


@pytest.mark.parametrize("key", [b"a", b"{a}b", b"{}b", b"x{a", b"x{}{b}", b"{a}{b}", b"\xc3\xa9{\xc3\xa9}", b""])
def test_slot_equals_that_of_redis_py(key: bytes) -> None:
    assert slot_of(key) == key_slot(key)


@pytest.mark.parametrize("shards", SIZES)
def test_shard_of_an_instrument_never_changes(shards: int) -> None:
    golden = json.loads(GOLDEN.read_text())
    assert {name: shard_of(name, shards) for name in golden} == {name: by_size[str(shards)] for name, by_size in golden.items()}


def test_keys_of_a_shard_carry_its_tag_and_one_shard_has_none() -> None:
    assert sharded_key("tickwire:stream:trades", 3, 4) == "tickwire:{nz}:stream:trades"
    assert sharded_key("tickwire:seq", 0, 1) == "tickwire:seq"
