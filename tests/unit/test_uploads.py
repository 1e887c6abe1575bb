"""Uploads of REST: the reader's file, and the files that are kept or not."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gunicorn.config import Config

from config.gunicorn.http_errors import RefusedRequest
from config.gunicorn.request_reader import MAX_BODY_BYTES, RequestReader
from config.gunicorn.uploads import MAX_UPLOAD_BYTES
from db.scenarios import recording, unpacking
from db.scenarios.files import recording_folders
from db.scenarios.lines import BadLine
from db.scenarios.recording import BadRecording
from db.scenarios.unpacking import NotGzip, TooLarge
from db.scenarios.uploads import BadName, RecordingExists, keep_recording, remove_unfinished

INSTRUMENTS = {"BTCUSDT"}
SHIPPED, _ = recording_folders(Path("var"))
TIME = 1_723_161_233_000_000_000


def diff(first: int, time: int = TIME, symbol: str = "BTCUSDT") -> bytes:
    """A line with one diff."""
    body = f'{{"e":"depthUpdate","E":1,"s":"{symbol}","U":{first},"u":{first},"b":[["1.0","2"]],"a":[]}}'
    return f'{time} {{"stream":"{symbol.lower()}@depth@100ms","data":{body}}}\n'.encode()


GOOD = diff(1) + diff(2, TIME + 1_500_000_000)


def keep(content: bytes, folder: Path, name: str = "new.gz") -> dict[str, object]:
    return keep_recording(io.BytesIO(content), name, (SHIPPED, folder), INSTRUMENTS)


# the reader


def head(length: int, path: str = "/scenarios/recordings", field: str = "Content-Length") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{field}: {length}\r\n\r\n".encode()


def reader() -> RequestReader:
    return RequestReader(Config(), ("192.0.2.1", 5))


def test_upload_above_the_usual_limit_arrives_in_a_file_without_a_name() -> None:
    body = os.urandom(MAX_BODY_BYTES + 100_000)
    target = reader()
    target.feed(head(len(body)))
    assert target.next_request() is None
    assert (target.in_upload, target.in_body) == (True, True)
    for start in range(0, len(body), 65_536):
        target.feed(body[start : start + 65_536])
        request = target.next_request()
        assert len(target._buffer) == 0, "no part stays in memory"
    assert request.body.read() == body
    assert not Path(str(request.body.name)).exists()
    assert (target.in_upload, target.started) == (False, False)


def test_request_after_an_upload_is_read() -> None:
    target = reader()
    target.feed(head(3) + b"abcGET /symbols HTTP/1.1\r\nHost: a\r\n\r\n")
    assert target.next_request().body.read() == b"abc"
    assert target.next_request().path == "/symbols"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head(MAX_UPLOAD_BYTES + 1), 413),
        (head(MAX_BODY_BYTES + 1, "/scenarios/burst-mode"), 413),
        (b"POST /scenarios/recordings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
    ],
)
def test_body_that_is_no_upload_of_64_mib_is_refused_with_its_head(data: bytes, status: int) -> None:
    target = reader()
    target.feed(data)
    with pytest.raises(RefusedRequest) as refused:
        target.next_request()
    assert refused.value.status == status
    assert b"HTTP/1.1 %d " % status in refused.value.answer("an-id")


def test_upload_of_exactly_64_mib_is_accepted_by_its_head() -> None:
    target = reader()
    target.feed(head(MAX_UPLOAD_BYTES))
    assert target.next_request() is None
    target.close()
    assert not target.in_upload


def test_full_disk_is_503_with_a_time_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError("no space left")

    monkeypatch.setattr("config.gunicorn.uploads.tempfile.TemporaryFile", full)
    target = reader()
    target.feed(head(5))
    with pytest.raises(RefusedRequest) as refused:
        target.next_request()
    assert b"503 Service Unavailable" in refused.value.answer("an-id")
    assert b"Retry-After: 2" in refused.value.answer("an-id")


# the files


def test_good_recording_is_kept_unchanged_with_its_facts(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD)
    folder = tmp_path / "recordings"
    assert keep(packed, folder) == {
        "recording": "new.gz",
        "instruments": ["BTCUSDT"],
        "lines": 2,
        "messages": 2,
        "seconds": 1.5,
        "sha256": hashlib.sha256(packed).hexdigest(),
    }
    assert [(each.name, each.read_bytes()) for each in folder.iterdir()] == [("new.gz", packed)]


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        (b"", NotGzip, "empty"),
        (GOOD, NotGzip, "no gzip"),
        (gzip.compress(GOOD)[:-9], NotGzip, "ends early"),
        (gzip.compress(b""), BadRecording, "no depth message"),
        (gzip.compress(GOOD + b"nonsense\n"), BadLine, "line 3 "),
        (gzip.compress(diff(1, symbol="NOSUCH")), BadLine, "unknown instrument NOSUCH"),
        (gzip.compress(diff(2) + diff(3, TIME - 1)), BadLine, "line 2 has an earlier"),
    ],
    ids=["empty", "plain", "cut", "nothing", "bad-line", "instrument", "time"],
)
def test_bad_recording_is_refused_and_leaves_no_file(tmp_path: Path, content: bytes, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        keep(content, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(b"0" * 20_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(BadLine, match="longer than"):
        keep(bomb, tmp_path)
    member = gzip.compress((b" " * 1_000_000 + b"\n") * 8)
    with pytest.raises(TooLarge, match="after unpacking"):
        keep(member * (unpacking.MAX_UNPACKED_BYTES // 8_000_000 + 1), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_lines_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "MAX_LINES", 2)
    with pytest.raises(BadLine, match="line 3 is one above the limit"):
        keep(gzip.compress(GOOD + b"\n\n"), tmp_path)


@pytest.mark.parametrize("name", ["", ".", "..", "../x.gz", "a/b.gz", "a\\b", "ü.gz", "x" * 81, "a\0b", "~upload-1"])
def test_bad_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadName):
        keep(gzip.compress(GOOD), tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_name_of_a_shipped_or_uploaded_recording_is_taken(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD)
    keep(packed, tmp_path)
    for name in ("btcusdt_20240808.gz", "new.gz"):
        with pytest.raises(RecordingExists):
            keep(b"never read", tmp_path, name)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("new.gz", packed)]


def test_name_that_is_taken_during_the_check_is_not_replaced(tmp_path: Path) -> None:
    class Slow(io.BytesIO):
        def seek(self, place: int, whence: int = 0) -> int:
            (tmp_path / "new.gz").write_bytes(b"other")  # another process was faster
            return super().seek(place, whence)

    with pytest.raises(RecordingExists):
        keep_recording(Slow(gzip.compress(GOOD)), "new.gz", (SHIPPED, tmp_path), INSTRUMENTS)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("new.gz", b"other")]


def test_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "recordings").write_text("a file")
    with pytest.raises(OSError, match="recordings"):
        keep(gzip.compress(GOOD), tmp_path / "recordings")


def test_old_parts_of_a_killed_process_are_removed_and_new_ones_stay(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for name, age in (("~upload-old", 601), ("~upload-new", 5), ("old.gz", 10_000)):
        (tmp_path / name).write_bytes(b"")
        moment = (now - timedelta(seconds=age)).timestamp()
        os.utime(tmp_path / name, (moment, moment))
    remove_unfinished(tmp_path, now)
    assert {each.name for each in tmp_path.iterdir()} == {"~upload-new", "old.gz"}
    remove_unfinished(tmp_path / "missing", now)
