"""Recordings of raw Binance lines: each bad line is refused with its number; limits of uploads."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path

import orjson
import pytest

from db.scenarios.fields import ScenarioError
from db.scenarios.files import find_recording, load_recording
from db.scenarios.lines import BadLine
from db.scenarios.recording import BadRecording, Recording, check_recording, read_recording
from db.scenarios.unpacking import NotGzip, TooLarge, lines_of, unpacked
from tests.support.even_recordings import even_lines

RECORDING = Path(__file__).resolve().parents[2] / "data" / "recordings" / "btcusdt_20240808.gz"
STAMP = b"1700000000000000000 "
DIFF = {"e": "depthUpdate", "E": 1_700_000_000_000, "s": "BTCUSDT", "U": 5, "u": 6, "b": [["1.0", "2.0"]], "a": []}


def line(stream: str = "btcusdt@depth@100ms", **changes: object) -> bytes:
    data = {name: value for name, value in {**DIFF, **changes}.items() if value is not None}
    return STAMP + orjson.dumps({"stream": stream, "data": data})


@pytest.fixture(scope="module")
def spot() -> Recording:
    return read_recording(RECORDING.name, lines_of(unpacked([RECORDING.read_bytes()])))


def test_counts_of_the_spot_recording_are_those_of_its_readme(spot: Recording) -> None:
    kinds = [each.kind for each in spot.entries]
    assert (spot.facts.lines, spot.facts.messages, kinds.count("ticker"), kinds.count("snapshot")) == (41_249, 3_451, 28_040, 1)
    assert (spot.facts.instruments, spot.facts.rule) == (("BTCUSDT",), "spot")
    assert round(spot.facts.seconds, 1) == 346.1


def test_summary_is_the_answer_to_an_upload(spot: Recording) -> None:
    digest = hashlib.sha256(b"").hexdigest()
    assert spot.facts.summary(digest) == {
        "recording": "btcusdt_20240808.gz",
        "instruments": ["BTCUSDT"],
        "lines": 41_249,
        "messages": 3_451,
        "seconds": round(spot.facts.seconds, 3),
        "sha256": digest,
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{}", "does not begin with the receive time"),
        (b"1700000000 {}", "19 digits of nanoseconds"),
        (STAMP + b"{", "is not JSON after the time"),
        (STAMP + b"[]", "has no JSON object"),
        (STAMP + b"{}", 'is neither a stream message {"stream","data"} nor a snapshot'),
        (STAMP + b'{"stream":5,"data":{}}', "is neither a stream message"),
        (line(stream="ethusdt@depth@100ms"), "has another symbol than its stream ethusdt@depth@100ms"),
        (line(stream="btcusdt@depth20@100ms"), "partial stream @depth20@100ms"),
        (line(U=None), "needs U as a whole number"),
        (line(U="5"), "needs U as a whole number"),
        (line(u=True), "needs u as a whole number"),
        (line(u=2**63), "needs u as a whole number"),
        (line(U=7), "has U above u"),
        (line(E=None), "needs E"),
        (line(b=None), "needs b as a list"),
        (line(b=[["1.0"]]), "has a level in b that is not"),
        (line(a=[["1.0", 2]]), "has a level in a that is not"),
        (line(a=[["1e5", "2"]]), "has a level in a that is not"),
        (line(pu=4), "mixes diffs with pu"),
        (STAMP + b'{"lastUpdateId":-1,"bids":[],"asks":[]}', "needs lastUpdateId"),
        (STAMP + b'{"lastUpdateId":1,"bids":[]}', "needs asks as a list"),
        (b"1699999999999999999 {}", "is neither a stream message"),
        (b"1699999999999999999 " + line()[20:], "has an earlier receive time than the line before it"),
    ],
)  # fmt: skip
def test_bad_line_is_named_by_its_number(text: bytes, problem: str) -> None:
    with pytest.raises(BadLine) as found:
        read_recording("x.gz", [line(), b"", text])
    assert found.value.number == 3
    assert problem in found.value.problem
    assert str(found.value).startswith("line 3 ")


def test_unknown_instrument_is_refused() -> None:
    with pytest.raises(BadLine, match="line 1 has the unknown instrument BTCUSDT"):
        read_recording("x.gz", [line()], {"ETHUSDT"})


def test_other_streams_are_counted_and_left_out() -> None:
    found = read_recording("x.gz", [line(stream="btcusdt@trade"), line(), line(stream="btcusdt@kline_1m")])
    assert (found.facts.lines, len(found.entries)) == (3, 1)


def test_recording_without_diffs_is_refused() -> None:
    with pytest.raises(BadRecording, match=r"x\.gz contains no depth message"):
        read_recording("x.gz", [line(stream="btcusdt@bookTicker")])


def test_snapshot_among_two_instruments_belongs_to_the_ids_around_it() -> None:
    other = line("ethusdt@depth@100ms", s="ETHUSDT", U=905, u=906)
    found = read_recording("x.gz", [line(), other, STAMP + b'{"lastUpdateId":905,"bids":[],"asks":[]}'])
    assert found.facts.instruments == ("BTCUSDT", "ETHUSDT")
    assert [each.instrument for each in found.entries if each.kind == "snapshot"] == ["ETHUSDT"]


def test_snapshot_that_fits_no_instrument_is_refused() -> None:
    other = line("ethusdt@depth@100ms", s="ETHUSDT", U=905, u=906)
    with pytest.raises(BadRecording, match="the snapshot with lastUpdateId 500 fits 0 instruments"):
        read_recording("x.gz", [line(), other, STAMP + b'{"lastUpdateId":500,"bids":[],"asks":[]}'])


def test_snapshots_are_bounded() -> None:
    snapshot = STAMP + b'{"lastUpdateId":1,"bids":[],"asks":[]}'
    with pytest.raises(BadLine, match="line 10001 is one snapshot above the limit of 10000"):
        check_recording("x.gz", repeat(snapshot))


def test_check_alone_has_the_same_facts() -> None:
    lines = even_lines(5)
    assert check_recording("x.gz", lines) == read_recording("x.gz", lines).facts


def test_usdm_diffs_give_the_usdm_rule() -> None:
    assert read_recording("x.gz", [line(pu=4)]).facts.rule == "usdm"


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_unpacked_equals_the_content(size: int) -> None:
    content = b"\n".join(even_lines(3))
    packed = gzip.compress(content[:5_000]) + gzip.compress(content[5_000:]) + b"\0" * 5
    assert b"".join(unpacked(chunks(packed, size))) == content


def test_packed_file_above_its_limit_is_too_large() -> None:
    with pytest.raises(TooLarge, match="the file is larger than 100 bytes"):
        list(unpacked([b"x" * 101], max_packed=100))


def test_gzip_bomb_ends_at_the_limit() -> None:
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(2**20)
    bomb = b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    sizes = []
    with pytest.raises(TooLarge, match="after unpacking"):
        sizes += [len(block) for block in unpacked([bomb], max_unpacked=3 * 2**20)]
    blocks = unpacked([bomb], max_unpacked=3 * 2**20)
    assert [len(next(blocks)) for _ in range(3)] == [2**20] * 3  # nothing beyond the limit was made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"plain text", "the file is no gzip file"),
        (gzip.compress(b"abc", mtime=0)[:-3], "ends early"),
        (gzip.compress(b"abc", mtime=0)[:-8] + b"12345678", "damaged"),
        (gzip.compress(b"abc", mtime=0) + b"more", "the file is no gzip file"),
    ],
)
def test_bytes_that_are_no_gzip_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(NotGzip, match=message):
        list(unpacked([data]))


def test_lines_cross_blocks() -> None:
    assert list(lines_of([b"a\nb", b"c\n\nd"])) == [b"a", b"bc", b"", b"d"]


@pytest.mark.parametrize("blocks", [[b"a\n" + b"x" * 11 + b"\n"], [b"a\nxxxxxx", b"xxxxxx"]])
def test_long_line_is_named_before_it_is_held(blocks: list[bytes]) -> None:
    with pytest.raises(BadLine, match="line 2 is longer than 10 bytes"):
        list(lines_of(blocks, max_line=10))


def test_recording_is_found_in_the_first_folder_that_has_it(tmp_path: Path) -> None:
    for folder, files in (("shipped", ["a.gz"]), ("uploaded", ["a.gz", "b.gz"])):
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / file).write_bytes(b"")
    folders = [tmp_path / "shipped", tmp_path / "uploaded", tmp_path / "absent"]
    assert find_recording("a.gz", folders) == tmp_path / "shipped" / "a.gz"
    assert find_recording("b.gz", folders) == tmp_path / "uploaded" / "b.gz"


@pytest.mark.parametrize("name", ["c.gz", "..", "../shipped/a.gz", "/etc/passwd", ""])
def test_recording_outside_the_folders_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScenarioError, match=r"recording names .* which is in none of"):
        find_recording(name, [tmp_path])


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_recording_is_loaded_packed_or_plain(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "x.gz").write_bytes(pack(b"\n".join(even_lines(5))))
    assert load_recording(tmp_path / "x.gz", {"BTCUSDT"}).facts.messages == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no line", r"x\.gz: line 1 does not begin"),
        (b"", r"x\.gz: x\.gz contains no depth"),
        (gzip.compress(b"a", mtime=0)[:9], "ends early"),
        (None, "No such file"),
    ],
)
def test_bad_recording_is_named_with_its_fault(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "x.gz").write_bytes(content)
    with pytest.raises(ScenarioError, match=message):
        load_recording(tmp_path / "x.gz")
