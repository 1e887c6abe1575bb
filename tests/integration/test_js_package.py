"""The packed JavaScript client: README, example program on pipes and terminals, browser."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from db.bus import Bus
from db.messages import Tick
from tests.conftest import until
from tests.support.clients import node
from tests.support.pages import Pages, served
from tests.support.ports import free_port
from tests.support.processes import ROOT, Web

CLIENT = ROOT / "clients" / "js"
TIME = "2025-11-18T12:30:00.000000Z"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a user: only the files of the package and its dependency."""
    folder = tmp_path_factory.mktemp("project")
    package = folder / "node_modules" / "tickwire-client"
    package.mkdir(parents=True)
    for name in ["package.json", "README.md", *json.loads((CLIENT / "package.json").read_text())["files"]]:
        source = CLIENT / name
        if source.is_dir():
            shutil.copytree(source, package / name)
        else:
            shutil.copy(source, package / name)
    (folder / "node_modules" / "socket.io-client").symlink_to(CLIENT / "node_modules" / "socket.io-client")
    return folder


class Program:
    """A Node program with its printed lines."""

    def __init__(self, project: Path, *argv: str, stdout: int = subprocess.PIPE, **environ: str) -> None:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": subprocess.PIPE, "text": True}
        self._popen = subprocess.Popen([node(), *argv], cwd=project, env={**os.environ, **environ}, **streams)
        self.lines: list[str] = []  # of standard output
        self.errors: list[str] = []  # of standard error
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in self._streams()]
        for reader in self._readers:
            reader.start()

    def _streams(self) -> list[tuple[Any, list[str]]]:
        pairs = [(self._popen.stdout, self.lines), (self._popen.stderr, self.errors)]
        return [(stream, lines) for stream, lines in pairs if stream is not None]

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))

    def __enter__(self) -> Program:
        return self

    def interrupt(self) -> None:
        self._popen.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Wait for the end of the program and its output; return the exit code."""
        code = self._popen.wait(60)
        for reader in self._readers:
            reader.join(60)
        return code

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self.ended()
        for stream, _lines in self._streams():
            stream.close()


def example(project: Path, hub: Web | str, *argv: str, **options: Any) -> Program:
    url = hub if isinstance(hub, str) else hub.url
    return Program(project, "node_modules/tickwire-client/websocket_client_example.js", "--url", url, *argv, **options)


def publish(bus: Bus, count: int = 1, instrument: str = "EUR_USD", mid: str = "1.0946") -> None:
    bus.publish_prices([Tick(instrument, "1.0945", "1.0947", mid, TIME, "test")] * count)


def test_package_passes_its_own_tests_and_type_checks() -> None:
    """The tests without a hub: the rules of resumption, and the types."""
    run = subprocess.run([node(), "--test", "test/"], cwd=CLIENT, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout[-4000:]
    passed = re.search(r"^. pass (\d+)$", run.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 18


def test_library_imports_only_socket_io_client() -> None:
    for file in (CLIENT / "src").glob("*.js"):
        imported = set(re.findall(r'(?:from|import)\s*\(?"([^"]+)"', file.read_text()))
        assert {name for name in imported if not name.startswith("./")} <= {"socket.io-client"}, file


def test_first_readme_program_over_a_restart_prints_all_prices(project: Path, hub: Web, bus: Bus) -> None:
    blocks = re.findall(r"```js\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    program = next(block for block in blocks if "await client.subscribe" in block)
    assert len(program.strip().splitlines()) <= 10
    assert "http://127.0.0.1:5001" in program
    (project / "watch.mjs").write_text(program.replace("http://127.0.0.1:5001", hub.url))
    publish(bus)
    with Program(project, "watch.mjs") as watch:
        until(lambda: any(line.startswith("now: {") for line in watch.lines))
        publish(bus, 2)
        until(lambda: sum("EUR_USD" in line for line in watch.lines) == 2)
        hub.kill()
        publish(bus, 3)
        hub.start()
        until(lambda: sum("EUR_USD" in line for line in watch.lines) == 5, 60)
        assert [line.split()[-1] for line in watch.lines if "EUR_USD" in line] == ["2", "3", "4", "5", "6"]
        assert not any("missing" in line for line in watch.lines)


def test_example_with_json_over_a_restart_prints_all_events(project: Path, hub: Web, bus: Bus) -> None:
    publish(bus)
    with example(project, hub, "--json", "--pairs", "eur_usd, NOPE", "--count", "7") as program:
        until(lambda: program.lines, what="the snapshot")
        publish(bus, 2)
        bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        until(lambda: len(program.lines) == 4)
        hub.kill()
        publish(bus, 3)
        hub.start()
        publish(bus, 2)
        assert program.ended() == 0
    events = [json.loads(line) for line in program.lines]
    assert [event["event"] for event in events] == ["snapshot", *["price_update"] * 2, "volatility_alert", *["price_update"] * 5]
    assert [event["seq"] for event in events if event["event"] == "price_update"] == list(range(2, 9))
    assert events[1]["price"] == {"bid": "1.0945", "ask": "1.0947", "mid": "1.0946", "time": TIME}
    assert "There is no instrument 'NOPE'." in program.errors
    assert any(line.startswith("The connection is lost") for line in program.errors)
    assert "Connected again." in program.errors


def test_example_exits_cleanly_on_ctrl_c_and_on_a_closed_pipe(project: Path, shared_hub: Web, shared_bus: Bus) -> None:
    publish(shared_bus, mid="1.5")
    with example(project, shared_hub, "--pairs", "EUR_USD") as program:  # plain lines, without a terminal
        until(lambda: program.lines)
        assert program.lines[0].split() == ["EUR_USD", "1.0945", "1.0947", TIME]
        program.interrupt()
        assert program.ended() == 0
        assert program.errors == []
    reading, writing = os.pipe()
    with example(project, shared_hub, "--json", stdout=writing) as program:
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        publish(shared_bus, 5)
        assert program.ended() == 0
        assert program.errors == []


def test_example_with_a_wrong_argument_prints_its_cause(project: Path, shared_hub: Web) -> None:
    for argv, code, words in (
        (["--bogus"], 2, "Unknown option '--bogus'."),
        (["--max-rate", "fast"], 2, '--max-rate takes a number above 0, not "fast".'),
        (["--url", "nonsense"], 2, '"nonsense" is no address; one is http://127.0.0.1:5001.'),
        (["--pairs", "NOPE"], 1, "There is no instrument 'NOPE'."),
        (["--max-rate", "900"], 1, "Invalid max_rate. (invalid_payload; max_rate: Must be greater"),
    ):
        with example(project, shared_hub, *argv) as program:
            assert program.ended() == code
            assert program.errors[0].startswith(words)
            assert program.lines == []
            assert not any("    at " in line for line in program.errors)
    with example(project, shared_hub, "--help") as program:
        assert program.ended() == 0
        assert "Ctrl-C ends it." in "\n".join(program.lines)
    nowhere = f"http://127.0.0.1:{free_port()}"
    with example(project, nowhere) as program:
        until(lambda: program.errors)
        assert program.errors[0].startswith(f"Cannot reach the hub at {nowhere}: nothing listens there. Trying again in ")
        program.interrupt()
        assert program.ended() == 0


def test_example_on_a_terminal_draws_a_coloured_table(project: Path, shared_hub: Web, shared_bus: Bus) -> None:
    master, terminal = pty.openpty()
    publish(shared_bus, mid="1.5")
    shown = bytearray()
    with example(project, shared_hub, "--pairs", "EUR_USD,GBP_USD", stdout=terminal, NO_COLOR="") as program:
        os.close(terminal)
        reader = threading.Thread(target=_drain, args=(master, shown), daemon=True)
        reader.start()
        until(lambda: b"EUR_USD" in shown and b"live" in shown)
        publish(shared_bus, mid="1.6")
        until(lambda: b"\x1b[32mEUR_USD" in shown, what="green for a rise")
        publish(shared_bus, mid="1.4")
        until(lambda: b"\x1b[31mEUR_USD" in shown, what="red for a fall")
        shared_bus.publish_volatility_alert("EUR_USD", 0.03, threshold=0.02, severity="warning")
        until(lambda: b"volatility 3.00%" in shown)
        program.interrupt()
        assert program.ended() == 0
    reader.join(60)
    os.close(master)
    assert shown.startswith(b"\x1b[?1049h")
    left = bytes(shown).rpartition(b"\x1b[?25h\x1b[?1049l")[2].decode().split()  # the remaining text on the screen
    assert left[:10] == ["instrument", "bid", "ask", "mid", "time", "EUR_USD", "1.0945", "1.0947", "1.4", TIME]


def _drain(master: int, shown: bytearray) -> None:
    try:
        while data := os.read(master, 65536):
            shown.extend(data)
    except OSError:  # the other end is closed
        return


# a browser

SCRIPT = """<script type="module">
import { FXDataPipelineClient } from "tickwire-client";
window.events = [];
const client = new FXDataPipelineClient(HUB, { reconnectionDelay: 100, reconnectionDelayMax: 300, requestTimeout: 60_000 });
client.onPriceUpdate(({ seq }) => events.push(["price", seq]));
client.onGap((gap) => events.push(["gap", gap]));
await client.connect({ timeout: 0 });
const { latency } = await client.ping();
await client.subscribe("EUR_USD");
events.push(["ready", latency]);
</script>"""


def test_client_in_a_browser_over_a_restart_receives_all_prices(project: Path, hub: Web, bus: Bus, pages: Pages) -> None:
    import_map = re.search(r'<script type="importmap">.*?</script>', (CLIENT / "README.md").read_text(), re.DOTALL)
    assert import_map is not None
    packages = project / "node_modules"
    (packages / "index.html").write_text("<!doctype html>" + import_map[0] + SCRIPT.replace("HUB", json.dumps(hub.url)))
    publish(bus)
    pages.allow("favicon.ico", f"{hub.url.removeprefix('http')}/.*(ERR_|closed|failed)")  # the end of the hub
    with served(packages) as url:
        pages.allow_origin(url, hub.url)
        page = pages.open(f"{url}/index.html")

        def events() -> list[Any]:
            return page.evaluate("window.events") or []

        def so_far() -> str:
            return f"the page; events: {events()}, errors: {pages.complaints}"

        until(lambda: any(name == "ready" for name, _ in events()), 60, so_far)
        publish(bus, 2)
        until(lambda: ["price", 3] in events(), 30, so_far)
        hub.kill()
        publish(bus, 2)
        hub.start()
        until(lambda: ["price", 5] in events(), 60, so_far)
        assert sorted(seq for name, seq in events() if name == "price") == [2, 3, 4, 5]
        assert {name for name, _ in events()} == {"ready", "price"}
