"""Scenarios over REST: their list to the letter, switches, and uploads of recordings."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api.app import create_app
from api.rest.books import switches, uploads
from config.gunicorn.uploads import MAX_UPLOADS
from config.settings import Settings
from config.venues import SourceSpec
from db.bus import Bus
from db.postgres import Store
from db.timestamps import utc_now
from tests.conftest import until
from tests.support.book_page import SCENARIOS
from tests.support.hasty_rest import HastyRest
from tests.support.rest_books import Player, heartbeat
from tests.support.servers import of_database

NAMES = ["stable-mode", "burst-mode", "gradual-spike", "extreme-spike"]
REDIS_DATABASE = 9  # of this module alone: its switches are broadcast to no hub
TIME = 1_723_161_233_000_000_000
UPLOAD = "/scenarios/recordings"


def line(first: int, seconds: int = 0, symbol: str = "BTCUSDT") -> bytes:
    body = f'{{"e":"depthUpdate","E":1,"s":"{symbol}","U":{first},"u":{first},"b":[["1.0","2"]],"a":[]}}'
    return f'{TIME + seconds * 10**9} {{"stream":"{symbol.lower()}@depth@100ms","data":{body}}}\n'.encode()


GOOD = gzip.compress(line(1) + line(2, 3))


class Rest:
    """The app with the source `scenario`, its bus, and the folder of uploads."""

    def __init__(self, settings: Settings, store: Store, folder: Path) -> None:
        self.settings = replace(settings, hub_data_dir=folder)
        self.folder = folder / "recordings"
        self.bus = Bus(str(settings.redis_url), utc_now)
        self.client: FlaskClient = create_app(self.settings, self.bus, store, utc_now, "1").test_client()
        live = replace(self.settings, sources=())
        self.without: FlaskClient = create_app(live, self.bus, store, utc_now, "1").test_client()

    def upload(self, content: bytes, name: str = "new.gz", field: str = "file", **more: Any) -> TestResponse:
        data = {field: (io.BytesIO(content), name), **more}
        return self.client.post(UPLOAD, data=data, content_type="multipart/form-data")

    @property
    def files(self) -> list[str]:
        return sorted(each.name for each in self.folder.glob("*")) if self.folder.exists() else []


@pytest.fixture(scope="module")
def scenario_settings(shared_settings: Settings) -> Settings:
    return replace(
        shared_settings, sources=(SourceSpec("scenario"),), redis_url=of_database(str(shared_settings.redis_url), REDIS_DATABASE)
    )


@pytest.fixture(scope="module")
def store(shared_settings: Settings) -> Iterator[Store]:
    with closing(Store(str(shared_settings.database_url))) as store:
        yield store


@pytest.fixture(scope="module")
def shared_rest(scenario_settings: Settings, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    found = Rest(scenario_settings, store, tmp_path_factory.mktemp("rest"))
    with closing(found.bus):
        yield found


@pytest.fixture
def rest(shared_rest: Rest) -> Rest:
    """The app with an empty folder of uploads."""
    for path in (shared_rest.settings.hub_data_dir).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return shared_rest


def error_of(answer: TestResponse) -> tuple[int, str, Any]:
    error = answer.get_json()["error"]
    return answer.status_code, error["code"], error["details"]


# GET


def test_scenarios_are_those_of_the_page_to_the_letter(rest: Rest) -> None:
    rest.bus.publish_heartbeat(heartbeat({}))
    for client in (rest.client, rest.without):
        answer = client.get("/scenarios")
        assert answer.status_code == 200
        assert json.dumps(json.loads(answer.text)) == json.dumps(json.loads(SCENARIOS))


def test_scenario_is_the_content_of_its_file(rest: Rest) -> None:
    for name in NAMES:
        file = Path("data/scenarios") / f"{name}-data.json"
        assert rest.client.get(f"/scenarios/{name}").get_json() == json.loads(file.read_text())
    for name in ("nonsense", "runs.", "Burst-Mode", "..%2Fburst-mode", "x" * 300):
        assert error_of(rest.client.get(f"/scenarios/{name}"))[1] in ("unknown_scenario", "not_found")
    status, code, details = error_of(rest.client.get("/scenarios/burst-mod"))
    assert (status, code, details) == (404, "unknown_scenario", {"available_scenarios": NAMES})
    assert "did you mean burst-mode?" in rest.client.get("/scenarios/burst-mod").get_json()["error"]["message"]


def test_file_of_an_operator_follows_the_four(rest: Rest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    for name in (*NAMES, "aa-mine"):
        body = json.loads(Path("data/scenarios/burst-mode-data.json").read_text())
        (folder / f"{name}-data.json").write_text(json.dumps({**body, "name": name}))
    monkeypatch.setattr(switches, "SCENARIO_FOLDER", folder)
    assert rest.client.get("/scenarios").get_json()["available_scenarios"] == [*NAMES, "aa-mine"]


# POST /scenarios/{name}


def test_switch_is_confirmed_and_answers_with_its_run(rest: Rest) -> None:
    with Player(rest.bus) as player:
        first = rest.client.post("/scenarios/burst-mode")
        body = first.get_json()
        assert (first.status_code, list(body)) == (
            200, ["message", "current_scenario", "previous_scenario", "run_id", "timestamp"],
        )  # fmt: skip
        assert body["message"] == "Switched to scenario burst-mode"
        assert (body["current_scenario"], body["previous_scenario"]) == ("burst-mode", "stable-mode")
        assert rest.client.get("/scenarios").get_json()["current_scenario"] == "burst-mode", "before the next heartbeat"
        again = rest.client.post("/scenarios/burst-mode").get_json()
        assert (again["previous_scenario"], again["run_id"] == body["run_id"]) == ("burst-mode", False)
    first_wanted, second_wanted = player.wanted
    assert (first_wanted["run_id"], second_wanted["run_id"]) == (body["run_id"], again["run_id"])
    assert {name: value for name, value in first_wanted.items() if value is None} == dict.fromkeys(
        ("speed", "seed", "loop", "recording", "faults")
    )
    assert rest.bus.wanted_scenario() == second_wanted


def test_values_of_a_run_are_passed_on(rest: Rest) -> None:
    assert rest.upload(GOOD, "mine.gz").status_code == 201
    given = {"speed": 2, "seed": 7, "loop": False, "recording": ["mine.gz"], "faults": [{"kind": "drop", "every": 5}]}
    with Player(rest.bus) as player:
        assert rest.client.post("/scenarios/stable-mode", json=given).status_code == 200
        assert rest.client.post("/scenarios/stable-mode", json={}).status_code == 200
    assert {name: player.wanted[0][name] for name in given} == given


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"speed": 0}, ["speed"]),
        ({"speed": 900}, ["speed"]),  # 900 · 20 is above the limit
        ({"speed": "2", "seed": -1, "loop": 1}, ["speed", "seed", "loop"]),
        ({"recording": ["nosuch.gz"]}, ["recording[0]"]),
        ({"recording": ["../scenarios/README.md"]}, ["recording[0]"]),
        ({"recording": ["btcusdt_20240808.gz", "EUR_USD_H1.csv.gz"]}, ["recording[1]"]),
        ({"recording": []}, ["recording"]),
        ({"faults": [{"kind": "drop"}, {"kind": "fire", "at": 1}]}, ["faults[0]", "faults[1].kind"]),
        ({"rate": 1}, ["rate"]),
        ([], ["body"]),
    ],
)
def test_bad_values_are_422_with_their_fields(rest: Rest, body: Any, fields: list[str]) -> None:
    status, code, details = error_of(rest.client.post("/scenarios/burst-mode", json=body))
    assert (status, code, list(details)) == (422, "invalid_payload", fields)


def test_body_that_is_not_json_is_422(rest: Rest) -> None:
    answer = rest.client.post("/scenarios/burst-mode", data="{", content_type="application/json")
    assert error_of(answer)[:2] == (422, "invalid_payload")
    answer = rest.client.post("/scenarios/burst-mode", data={"speed": "2"})
    assert list(error_of(answer)[2]) == ["Content-Type"]


def test_switch_without_scenario_source_or_process_is_refused(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = (404, "unknown_scenario", {"available_scenarios": NAMES})
    for name in ("nonsense", "runs", "recordings-2"):
        assert error_of(rest.client.post(f"/scenarios/{name}")) == error_of(rest.without.post(f"/scenarios/{name}")) == unknown
    assert error_of(rest.without.post("/scenarios/burst-mode")) == (409, "scenario_unavailable", {"scenario": ["burst-mode"]})
    answer = rest.client.post("/scenarios/burst-mode")
    assert error_of(answer) == (503, "unavailable", {"part": "books"})
    assert answer.headers["Retry-After"] == "2"


# POST /scenarios/recordings


def test_upload_is_kept_and_can_be_played(rest: Rest) -> None:
    answer = rest.upload(GOOD)
    body = answer.get_json()
    assert (answer.status_code, list(body)) == (201, ["recording", "instruments", "lines", "messages", "seconds", "sha256"])
    assert (body["recording"], body["instruments"], body["lines"], body["messages"], body["seconds"]) == ("new.gz", ["BTCUSDT"], 2, 2, 3.0)
    assert (rest.folder / "new.gz").read_bytes() == GOOD
    assert error_of(rest.upload(GOOD)) == (409, "conflict", {"file": ["new.gz"]})
    assert error_of(rest.upload(GOOD, "btcusdt_20240808.gz"))[0] == 409
    assert rest.files == ["new.gz"]


def test_shipped_recording_can_be_uploaded_under_another_name(rest: Rest) -> None:
    content = Path("data/recordings/btcusdt_20240808.gz").read_bytes()
    body = rest.upload(content, "copy.gz").get_json()
    # tests/data/depth/README.md
    assert (body["lines"], body["messages"], round(body["seconds"])) == (41_249, 3_451, 346)
    assert body["sha256"] == "5d263f4c5379cfc27379ef0e22779aa33804463d1b69c292e9c0714e31f2e1b4"


@pytest.mark.parametrize(
    ("content", "at"),
    [
        (gzip.compress(line(1) + b"nonsense\n" + line(2)), 2),
        (gzip.compress(line(1) + b"\n" + line(2, symbol="NOSUCH")), 3),
        (gzip.compress(b"0" * 5_000_000), 1),
        (gzip.compress(line(1) + line(2, -1)), 2),
    ],
    ids=["no-message", "instrument", "bomb", "time"],
)
def test_bad_line_is_422_with_its_number_and_keeps_nothing(rest: Rest, content: bytes, at: int) -> None:
    status, code, details = error_of(rest.upload(content))
    assert (status, code, details["line"]) == (422, "invalid_payload", at)
    assert rest.files == []


BAD_NAMES = (
    "../x.gz",
    "/etc/x.gz",
    "a/b.gz",
    "a\\b.gz",
    "C:\\a\\b.gz",
    "..",
    "ü.gz",
    "x" * 81,
    "a b.gz",
    "~upload-1",
    "%2e%2fx.gz",
    "a\nb",
)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_name_with_a_path_is_422_and_keeps_nothing(rest: Rest, name: str) -> None:
    assert error_of(rest.upload(GOOD, name))[:2] == (422, "invalid_payload")
    assert [each for each in rest.settings.hub_data_dir.rglob("*") if each.is_file()] == []


def test_other_forms_are_422(rest: Rest) -> None:
    twice = [("file", (io.BytesIO(GOOD), name)) for name in ("a.gz", "b.gz")]
    cases: dict[str, TestResponse] = {
        "file": rest.upload(GOOD, field="data"),
        "note": rest.upload(GOOD, note="x"),
        "Content-Type": rest.client.post(UPLOAD, data=GOOD, content_type="application/gzip"),
    }
    for field, answer in cases.items():
        assert answer.status_code == 422
        assert field in error_of(answer)[2]
    answer = rest.client.post(UPLOAD, data={"file": [each for _, each in twice]}, content_type="multipart/form-data")
    assert error_of(answer)[2] == {"file": ["Given more than once: use it once."]}
    assert error_of(rest.client.post(UPLOAD, data={"file": "text"}, content_type="multipart/form-data"))[0] == 422
    assert error_of(rest.client.post(UPLOAD))[0] == 422
    assert rest.files == []


@pytest.mark.parametrize("content", [b"", line(1), GOOD[:-9], GOOD[:4] + b"\xff" * 40], ids=["empty", "plain", "cut", "damaged"])
def test_file_that_is_no_gzip_is_422(rest: Rest, content: bytes) -> None:
    assert error_of(rest.upload(content))[:2] == (422, "invalid_payload")
    assert rest.files == []


def test_file_that_is_too_large_is_413(rest: Rest, monkeypatch: pytest.MonkeyPatch) -> None:
    blank = b" " * 1_000_000 + b"\n"
    bomb = gzip.compress(blank * 8)
    assert error_of(rest.upload(bomb * 68))[:2] == (413, "request_entity_too_large")
    monkeypatch.setattr(uploads, "MAX_PACKED_BYTES", 100)
    assert error_of(rest.upload(GOOD))[:2] == (413, "request_entity_too_large")
    assert rest.files == []


def test_folder_that_cannot_be_written_is_503(rest: Rest) -> None:
    rest.folder.write_bytes(b"")
    assert error_of(rest.upload(GOOD)) == (503, "unavailable", {"part": "recordings"})


# the worker of REST


class Worker(HastyRest):
    """REST as a process with its data and its temporary files in one folder."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, folder / "rest.log", SOURCES="scenario", TMPDIR=str(folder))
        self.folder = folder


@pytest.fixture(scope="module")
def worker(scenario_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """REST as a process, whose uploads may take 3 s."""
    folder = tmp_path_factory.mktemp("worker")
    settings = replace(scenario_settings, hub_data_dir=folder)
    with Worker(settings, folder) as process:
        yield process


def form(content: bytes, name: str = "new.gz") -> tuple[bytes, bytes]:
    """The head fields and the body of an upload."""
    begin = f'--limit\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    return b"Content-Type: multipart/form-data; boundary=limit\r\n", begin.encode() + content + b"\r\n--limit--\r\n"


def connect(worker: Worker) -> socket.socket:
    address = urlsplit(worker.url)
    return socket.create_connection((str(address.hostname), int(address.port or 0)), 20)


def head(length: int, more: bytes = b"") -> bytes:
    return b"POST " + UPLOAD.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n" + more + b"Content-Length: %d\r\n\r\n" % length


def read_answer(sock: socket.socket) -> tuple[int, Any]:
    """Return the status and the JSON body of the answer."""
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < int(data.lower().partition(b"content-length: ")[2].split()[0]):
        part = sock.recv(65_536)
        if not part:
            break
        data += part
    return int(data.split()[1]), orjson.loads(data.partition(b"\r\n\r\n")[2])


def left_files(worker: Worker) -> list[str]:
    return sorted(str(each.relative_to(worker.folder)) for each in worker.folder.rglob("*") if each.is_file() and each.name != "rest.log")


def test_large_upload_passes_the_worker_and_a_slow_one_does_not(worker: Worker) -> None:
    trades = (f'{TIME} {{"stream":"btcusdt@trade","data":{{"s":"BTCUSDT","x":"{index:032x}"}}}}\n' for index in range(60_000))
    content = gzip.compress(line(1) + "".join(trades).encode(), 0)
    assert len(content) > 2**20, "above the usual limit"
    fields, body = form(content, "large.gz")
    with connect(worker) as sock:
        sock.sendall(head(len(body), fields) + body)
        status, answer = read_answer(sock)
    assert (status, answer["recording"], answer["messages"], answer["lines"]) == (201, "large.gz", 1, 60_001)
    assert left_files(worker) == ["recordings/large.gz"]
    with connect(worker) as sock:
        sock.sendall(head(len(body), fields) + body[:100_000])
        status, answer = read_answer(sock)
    assert (status, answer["error"]["code"]) == (408, "request_timeout")
    assert left_files(worker) == ["recordings/large.gz"]
    (worker.folder / "recordings" / "large.gz").unlink()


def test_killed_client_leaves_no_file(worker: Worker) -> None:
    fields, body = form(GOOD, "killed.gz")
    for sent in (body[:10], body[:-1]):
        sock = connect(worker)
        sock.sendall(head(len(body), fields) + sent)
        sock.close()
    with connect(worker) as sock:
        sock.sendall(head(5, b"Expect: 100-continue\r\n"))
        assert sock.recv(1000).startswith(b"HTTP/1.1 100 ")
    answered(worker)
    assert left_files(worker) == []


def test_body_above_64_mib_and_a_chunked_one_are_refused_at_their_heads(worker: Worker) -> None:
    with connect(worker) as sock:
        sock.sendall(head(64 * 2**20 + 1))
        assert read_answer(sock)[0] == 413
    with connect(worker) as sock:
        sock.sendall(b"POST " + UPLOAD.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert read_answer(sock)[0] == 411
    with connect(worker) as sock:
        sock.sendall(b"POST /scenarios/burst-mode HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1048577\r\n\r\n")
        assert read_answer(sock)[0] == 413


def test_uploads_at_the_same_time_are_limited_and_other_requests_pass(worker: Worker) -> None:
    held = [connect(worker) for _ in range(MAX_UPLOADS)]
    try:
        for sock in held:
            sock.sendall(head(1000) + b"x")
        answered(worker)
        with connect(worker) as sock:
            sock.sendall(head(1000))
            status, body = read_answer(sock)
        assert (status, body["error"]["code"]) == (503, "unavailable")
    finally:
        for sock in held:
            sock.close()
    until(lambda: accepts(worker), what="a place for an upload")


def answered(worker: Worker) -> None:
    """Return after an answer that was requested now: earlier bytes have been read."""
    with connect(worker) as sock:
        sock.sendall(b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert read_answer(sock)[0] == 200


def accepts(worker: Worker) -> bool:
    with connect(worker) as sock:
        sock.sendall(head(5, b"Expect: 100-continue\r\n"))
        return sock.recv(1000).startswith(b"HTTP/1.1 100 ")
