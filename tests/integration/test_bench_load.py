"""The load generator of the benchmark: frames, chunks and percentiles. No test asserts a speed."""

from __future__ import annotations

import zlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.client import Plan
from tests.bench.frames import Chunk, FrameError, Inflate, Walker, client_frame, price_of, server_frame, split_frames
from tests.bench.histogram import Histogram

PUBLISHED = 1763469296.789123
REUSED = Histogram()  # its 48 MB are allocated once for all examples


def price(topic: str = "EUR_USD", seq: int = 1, padding: str = "1") -> bytes:
    body = {
        "instrument": topic,
        "price": {"bid": padding, "ask": "1", "mid": "1", "time": "2025-11-18T12:34:56.000000Z"},
        "timestamp": "2025-11-18T12:34:56.789123Z",
        "seq": seq,
        "epoch": "abc",
    }
    return b'42["price_update",' + orjson.dumps(body) + b"]"


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
def test_frame_of_every_length_form_is_split_again(size: int) -> None:
    data = server_frame(b"x" * size)
    assert list(split_frames(data + data)) == [(0x81, b"x" * size, len(data)), (0x81, b"x" * size, 2 * len(data))]


@given(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 1000))
def test_frame_cut_anywhere_is_kept_until_it_is_complete(sizes: list[int], cut: int) -> None:
    packets = [b"%d" % number * size for number, size in enumerate(sizes)]
    data = b"".join(map(server_frame, packets))
    walker, cut = Walker(), cut % (len(data) + 1)
    first = walker.walk(data[:cut])
    second = walker.walk(first.rest + data[cut:])
    assert [*first.others, *second.others] == packets
    assert second.rest == b""


def test_prices_become_runs_per_topic_and_other_packets_keep_their_order() -> None:
    packets = [price("A", 4), b"2", price("B", 1), price("A", 5), b'42["pong",{}]', price("A", 7)]
    data = b"".join(map(server_frame, packets))
    expected = Chunk((("A", 4, 5), ("A", 7, 7), ("B", 1, 1)), ((PUBLISHED, 4),), 4, (b"2", b'42["pong",{}]'), b"")
    walker = Walker()
    assert walker.walk(data) == expected
    assert walker.walk(data) == expected


def test_repeated_bytes_return_the_same_chunk() -> None:
    data = server_frame(price(seq=1)) + server_frame(price(seq=2)) + b"\x81"
    walker = Walker()
    chunk = walker.walk(data)
    assert walker.walk(data) is chunk
    assert (chunk.runs, chunk.prices, chunk.rest) == ((("EUR_USD", 1, 2),), 2, b"\x81")


@pytest.mark.parametrize(
    "payload",
    [
        b'42["price_update",{}]',
        b'42["price_update",{"instrument":',
        price()[:-2] + b',"more":1}]',
        price().replace(b'"seq":1', b'"seq":1,"seq2":1'),
        price().replace(b"2025-11-18T12:34:56.789123Z", b"yesterday"),
    ],
)
def test_body_outside_the_contract_raises(payload: bytes) -> None:
    with pytest.raises(FrameError):
        price_of(payload)


@pytest.mark.parametrize("data", [client_frame(b"2"), b"\x88\x02\x03\xe8", b"\x01\x01x", b"\xc1\x01x"])
def test_frame_that_no_server_may_send_raises(data: bytes) -> None:
    with pytest.raises(FrameError):
        Walker().walk(data)


def test_compressed_frames_of_one_stream_are_inflated_in_order() -> None:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    walker, inflate = Walker(), Inflate()
    for seq in range(1, 4):
        payload = (deflate.compress(price(seq=seq)) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]
        data = b"\xc1" + server_frame(payload)[1:]
        assert walker.walk_compressed(data, inflate).runs == (("EUR_USD", seq, seq),)


def test_client_frame_unmasks_to_its_payload() -> None:
    frame = client_frame(b"4" * 200)
    assert frame[:4] == b"\x81\xfe" + (200).to_bytes(2, "big")
    assert bytes(byte ^ frame[4 + index % 4] for index, byte in enumerate(frame[8:])) == b"4" * 200


def test_client_greets_and_then_subscribes() -> None:
    steps = Plan(port=1, protocol="socketio", pairs=("A",), greeting=True).steps()
    assert steps == [
        (b"", b"0{"),
        (b"40", b"40{"),
        (b"", b'42["connection_established"'),
        (b'42["subscribe",{"pairs":["A"]}]', b'42["subscription_confirmed"'),
    ]


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 50)), min_size=1, max_size=50), st.floats(0.01, 1))
def test_percentiles_equal_those_of_the_sorted_list_within_a_bucket(given: list[tuple[float, int]], share: float) -> None:
    histogram = REUSED
    histogram.clear()
    for seconds, count in given:
        histogram.add(seconds, count)
    ascending = sorted(seconds for seconds, count in given for _ in range(count))
    wanted = next(value for rank, value in enumerate(ascending, start=1) if rank >= share * len(ascending))
    (found,) = histogram.percentiles(share)
    assert found == pytest.approx(wanted, abs=1.1e-5)
    histogram.clear()
    assert histogram.percentiles(share) == [None]


def test_latency_outside_the_buckets_counts_in_the_nearest() -> None:
    histogram = Histogram()
    histogram.add(-0.001, 1)
    histogram.add(3600.0, 1)
    low, high = histogram.percentiles(0.5, 1.0)
    assert low == pytest.approx(0, abs=1e-5)
    assert high == pytest.approx(60, abs=1e-4)
