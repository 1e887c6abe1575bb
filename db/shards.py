"""Shards of the bus: their tags, the hash slots of keys, and the shard of an instrument. Pure.

The keys of a shard have its tag in braces, so that Redis Cluster keeps them in one hash slot. The
slot of a tag is the nearest to the middle of its share: slot ≈ (i + ½) · 16384 / S. Bare indices
are uneven: of `{0}` … `{15}` over 16 nodes, 8 nodes get none.
"""

from __future__ import annotations

import json
from binascii import crc_hqx
from zlib import crc32

SLOTS = 16_384  # of Redis Cluster

# number of shards -> their tags, in the order of the slots
TAGS: dict[int, tuple[str, ...]] = {
    number: tuple(tags.split())
    for number, tags in {
        2: "cw bo",
        4: "f1 w3 jb nz",
        8: "bq wk ss fi ci b7 rk e",
        16: "u0 qp dj wz d2 pv uh iy ly h9 uv q6 9s qn dt ha",
        32: "6u by 25 f9 tf db o2 gg 8c 06 po 4v ed m1 fa iq k4 ca 4h x5 63 ez 2s yk z6 rc ab i7 c9 tx gy p8",
        64: (
            "mm ry 9i e8 v1 qt ap ax tb kv dn df wo o6 gc xw 8g d6 lc 02 g3 pk on pz 99 zt ul m5 fm yy va iu "
            "si k0 ce 8y pd op x9 x1 jf ur zj b3 ik q2 yg fs bk z2 rg ms af an qj i3 c5 dp kh 0t xi xa he 44"
        ),
    }.items()
}
SIZES = (1, *TAGS)  # numbers of shards that the bus may have

LAYOUT_VERSION = 1  # of the names of the keys
_PREFIX = "tickwire:"  # of every key


def shard_of(name: str, shards: int) -> int:
    """The shard, from 0, in which the prices, candles and trades of the instrument `name` live."""
    return crc32(name.encode()) % shards if shards > 1 else 0


def sharded_key(key: str, shard: int, shards: int) -> str:
    """The key `tickwire:REST` in its shard: `tickwire:{TAG}:REST`. With one shard it stays."""
    return key if shards == 1 else f"{_PREFIX}{{{TAGS[shards][shard]}}}:{key.removeprefix(_PREFIX)}"


def layout_text(shards: int) -> bytes:
    """The value of `tickwire:layout`."""
    return b'{"version":%d,"shards":%d}' % (LAYOUT_VERSION, shards)


def shards_of_layout(text: bytes) -> int | None:
    """The number of shards of `tickwire:layout`; None if this version cannot read it."""
    try:
        body = json.loads(text)
        version, shards = body["version"], body["shards"]
    except (ValueError, KeyError, TypeError):
        return None
    return shards if version == LAYOUT_VERSION and shards in SIZES else None


def slot_of(key: bytes) -> int:
    """The hash slot of a key: CRC-16/XMODEM of its tag, or of all of it if it has none."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return crc_hqx(key, 0) % SLOTS
