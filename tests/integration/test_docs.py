"""Documents: every block runs or is checked, every example equals a real answer."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema_rs
import pandas as pd
import psutil
import pytest
from marshmallow import ValidationError

from api.asyncapi import answers, document
from api.hub.events import namespaces
from config import VERSION
from tests.conftest import until
from tests.examples import react
from tests.examples import rest as rest_examples
from tests.examples.blocks import LANGUAGES, LEFT_OUT, Block, anchors, blocks, left_out, links, messages, relative, substituted
from tests.examples.bot import NAME, Bot
from tests.examples.example import DOCUMENTS, PAGES, Examples, check_message, numbers, quote_again, quotes, read_all
from tests.examples.program import javascript, python
from tests.examples.reported import ALERT_ID, RUN_ID
from tests.examples.shape import difference
from tests.examples.system import System, living
from tests.support.pages import Pages, served
from tests.support.processes import ROOT
from tests.support.prometheus import promtool

FILES = read_all()
# the command of the README, which may run first or again
ADD_GOLD = [sys.executable, "manage.py", "instrument", "add", "XAU_USD", "--kind", "metal", "--name", "Gold / US Dollar"]
ADD_GOLD += ["--precision", "2", "--source", "publish"]
PROGRAMS_AT_A_TIME = 3
SHOW_WRONG = {"invalid_payload", "unknown_event", "candles", "subscribe_books"}  # examples with an invalid request


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with living(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture(scope="module")
def answered(system: System) -> Examples:
    """Capture every example of REST now."""
    return rest_examples.capture(system)


@pytest.fixture(scope="module")
def gold(system: System) -> None:
    """Add the instrument of the README, as its block may run first or again."""
    assert subprocess.run(ADD_GOLD, cwd=ROOT, env=surroundings(system), check=False).returncode == 0


@pytest.fixture(scope="module")
def places(system: System) -> dict[str, str]:
    """Text in the documents -> its replacement for the running system."""
    today = datetime.now(UTC).date()
    files = own_files(system.folder)
    return {
        **files,
        "127.0.0.1:5000": system.rest.removeprefix("http://"),
        "127.0.0.1:5001": system.hub.removeprefix("http://"),
        ALERT_ID: system.alert_id,
        RUN_ID: system.run_id,
        "var/run.json": str(system.folder / "var" / "run.json"),
        "var/redis": str(system.folder / "var" / "redis"),  # the folder of the socket, and the file of the password
        "--from 2026-11-20 --to 2026-11-21": f"--from {today - timedelta(days=1)} --to {today}",
    }


# examples


def test_rest_answers_equal_the_example_files(answered: Examples) -> None:
    assert set(answered) == {name for name in FILES if name.startswith("rest/")}
    for name, answer in answered.items():
        before = FILES[name]
        kept = ("request", "key", "status", "type")
        assert [answer.get(field) for field in kept] == [before.get(field) for field in kept], name
        assert difference(answer["answer"], before["answer"]) is None, name
        if answer["type"] == "text/csv":
            assert answer["answer"].splitlines()[0] == before["answer"].splitlines()[0]


def test_every_route_has_an_example_that_fits_the_openapi_document(system: System, answered: Examples) -> None:
    described = system.ask("/openapi.json")
    asked = {example["request"].partition("?")[0] for example in answered.values() if example["status"] != 404 or "?" in example["request"]}
    paths = {path: re.compile(re.sub(r"{\w+}", "[^/?]+", path)).fullmatch for path in described["paths"]}
    assert {next(path for path in paths if path == each or (path not in asked and paths[path](each))) for each in asked} == set(paths)
    for name, example in answered.items():
        address, status, kind = example["request"].partition("?")[0], str(example["status"]), example["type"]
        path = next((path for path in paths if path == address or paths[path](address)), "")
        if kind == "application/json" and path in described["paths"]:
            operation = described["paths"][path]["post" if {"body", "file"} & example.keys() else "get"]["responses"]
            answer = operation.get(status, operation.get("default"))
            answer = described["components"]["responses"][answer["$ref"].rsplit("/", 1)[1]] if "$ref" in answer else answer
            schema = {**answer["content"][kind]["schema"], "components": described["components"]}
            assert [str(error) for error in jsonschema_rs.Draft202012Validator(schema).iter_errors(numbers(example["answer"]))] == [], name


def test_asyncapi_document_is_served(system: System) -> None:
    assert system.ask("/asyncapi.json") == document(VERSION, system.hub.removeprefix("http://"))
    assert system.ask("/")["documentation"]["asyncapi"] == "asyncapi.json"


def test_documents_quote_every_example_unchanged() -> None:
    quoted = [name for file in DOCUMENTS for name, _ in quotes(file.read_text())]
    assert sorted(set(quoted)) == sorted(FILES)
    for file in DOCUMENTS:
        assert file.read_text() == quote_again(file.read_text(), FILES), f"{file.name}: run scripts/capture_examples.py"


# blocks


def test_order_book_document_has_the_programs_of_the_examples() -> None:
    text = (ROOT / "docs/order-books.md").read_text()
    for language, name in (("python", "order_book.py"), ("js", "order_book.mjs")):
        program = (ROOT / "clients/examples" / name).read_text()
        assert f"```{language}\n{program}```" in text, name


def test_every_block_has_a_tested_language() -> None:
    assert {block.language for block in blocks()} <= LANGUAGES
    assert all(blocks(language) for language in LANGUAGES)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_blocks_fit_the_schemas(block: Block) -> None:
    found = messages(block.text)
    assert found
    quoted = next((name for name, text in quotes(block.file.read_text()) if block.text in text), "")
    namespace = FILES[quoted][0].get("namespace", "/") if quoted and isinstance(FILES[quoted], list) else "/"
    for word, body in found:
        if word is not None and not (word not in answers(namespace) and quoted in SHOW_WRONG):
            check_message(word, body, namespace)
        elif word is None and not quoted.startswith("rest/"):  # the OpenAPI document describes those
            assert any(fits(schema(), body) for each in namespaces() for schema in answers(each).values()), body


@pytest.mark.usefixtures("gold")
@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_shell_blocks_run(block: Block, system: System, places: dict[str, str], answered: Examples) -> None:
    if "curl" in block.text and shutil.which("curl") is None:
        pytest.skip("no curl here")
    if "promtool" in block.text:
        promtool()  # skips without it
    commands = [_ended(command) for command in block.commands if left_out(command) is None]
    if not commands:
        return
    # A failing curl must fail the block, unless the block prints the status itself.
    curl = 'curl() { case "$*" in *-w*) command curl "$@";; *) command curl --fail "$@";; esac; }'
    script = "\n".join(["set -eu", curl, *(substituted(command, places) for command in commands)])
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=surroundings(system), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip()
    quoted = next((name for name, text in quotes(block.file.read_text()) if block.text in text), None)
    if quoted and FILES[quoted]["status"] != 200:
        assert done.stdout.rstrip().endswith(str(FILES[quoted]["status"]))


def test_every_exemption_of_a_command_is_used() -> None:
    commands = [command for block in blocks("sh") for command in block.commands]
    used = {left_out(command) for command in commands}
    assert {start for start in LEFT_OUT if start not in used} <= {"make bench"}
    assert sum(left_out(command) is None for command in commands) > 40


def test_commands_that_do_not_end_are_those_of_up(system: System) -> None:
    commands = [
        command for block in blocks("sh") for command in block.commands if "does not end" in LEFT_OUT.get(left_out(command) or "", "")
    ]
    assert len(commands) == 5
    for command in commands:
        words = command.partition("#")[0].replace("'", "").split()
        # `up` restarts a process that a block of the documents has just killed.
        until(lambda words=words: any(line[1:] == words[1:] for line in _children(system)), 60, command)  # type: ignore[misc]


def _children(system: System) -> list[list[str]]:
    """Return the command lines of the children of `up`."""
    lines = []
    for child in psutil.Process(system.pid).children():
        with suppress(psutil.NoSuchProcess):
            lines.append(child.cmdline())
    return lines


@pytest.fixture(scope="module")
def programs(
    request: pytest.FixtureRequest, system: System, gold: None, places: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[Block, Future[None]]:
    """Block -> the ended run of its program, for the chosen tests.

    Some run at the same time, because they mostly wait for prices. No test runs meanwhile: pytest
    changes the environment, which the programs inherit.
    """
    parameters = [vars(item)["callspec"].params for item in request.session.items if item.path == request.path and "callspec" in vars(item)]
    chosen = {each["block"] for each in parameters if "block" in each}
    with ThreadPoolExecutor(PROGRAMS_AT_A_TIME) as pool:
        return {
            block: pool.submit(run, block, system, places, tmp_path_factory.mktemp("program"))
            for language, run in (("js", run_javascript), ("python", run_python))
            for block in blocks(language)
            if block in chosen
        }


def run_javascript(block: Block, system: System, places: dict[str, str], folder: Path) -> None:
    with javascript(substituted(block.text, places), folder) as program:
        program.check()


def run_python(block: Block, system: System, places: dict[str, str], folder: Path) -> None:
    text = substituted(block.text, places)
    environ: dict[str, str] = {}
    if '"manage.py"' in text:  # a program that runs commands
        text = text.replace('"manage.py"', repr(str(ROOT / "manage.py")))
        environ = system.environ
    if "tickwire_client" in text:
        text = text.replace("Client()", f'Client("{system.hub}", "{system.rest}")')
        text = re.sub(r"Client\((auth|bot)=", rf'Client("{system.hub}", "{system.rest}", \1=', text)
    with python(text, folder, **environ) as program:
        program.check()


@pytest.mark.parametrize("block", blocks("js"), ids=str)
def test_javascript_blocks_run(block: Block, programs: dict[Block, Future[None]]) -> None:
    programs[block].result()


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_run(block: Block, programs: dict[Block, Future[None]]) -> None:
    if "socketio.AsyncClient" in block.text and find_spec("aiohttp") is None:
        pytest.skip("python-socketio's asyncio client needs aiohttp, which is not installed here")
    programs[block].result()


@pytest.mark.parametrize("block", blocks("html"), ids=str)
def test_html_blocks_show_prices_in_a_browser(block: Block, system: System, places: dict[str, str], tmp_path: Path, pages: Pages) -> None:
    (tmp_path / "prices.html").write_text(substituted(block.text, places))
    pages.allow("favicon.ico")
    with served(tmp_path) as url:
        pages.allow_origin(url, system.rest, system.hub)
        page = pages.open(f"{url}/prices.html")

        def shown() -> list[str]:
            return str(page.evaluate("document.getElementById('prices')?.textContent ?? ''")).splitlines()

        until(lambda: len(shown()) >= 20, 60, lambda: f"20 prices; shown: {shown()}, complaints: {pages.complaints}")
        lines = shown()
    assert all(re.fullmatch(r"\w+ +[\d.]+ [\d.]+", line) for line in lines), lines


@pytest.mark.skipif(not react.node_is_new_enough(), reason="Vite needs Node 20.19 or newer")
def test_react_app_shows_prices_and_chart_over_a_restart_of_the_hub(system: System, places: dict[str, str], tmp_path: Path) -> None:
    react.make_project(tmp_path, places, proxied=True)
    with react.opened(tmp_path) as page:
        prices = r"live EUR_USD [\d.]+ [\d.]+ GBP_USD [\d.]+ [\d.]+ BTCUSDT [\d.]+ [\d.]+"
        until(lambda: re.fullmatch(prices, page.shown[0]) and page.shown[1] > 30, 60, lambda: f"prices and a chart: {page.shown}")
        os.kill(system.run["pids"]["hub"], signal.SIGKILL)
        until(lambda: page.texts[-1].startswith("reconnecting"), 30, "the loss of the connection")
        before = len(page.texts)
        until(lambda: sum(text.startswith("live") for text in page.texts[before:]) >= 3, 60, "prices after the restart")


@pytest.mark.skipif(not react.node_is_new_enough(), reason="Vite needs Node 20.19 or newer")
def test_react_app_without_the_proxy_shows_prices_of_another_port(system: System, places: dict[str, str], tmp_path: Path) -> None:
    react.make_project(tmp_path, places, proxied=False)
    with react.opened(tmp_path) as page:
        until(
            lambda: re.match(r"live EUR_USD \d+\.\d+", page.shown[0]) and page.shown[1] > 30,
            60,
            lambda: f"a price and a chart: {page.shown}",
        )


def test_example_bot_that_is_killed_three_times_has_each_trade_once(system: System, tmp_path: Path) -> None:
    """The oracle is the bot itself: number of trades, units and profit in its state file."""
    with Bot(system, tmp_path) as bot:
        for _ in range(3):
            bot.await_trades(bot.trades + 3)
            bot.kill()  # also between the state file, the report and its ack
            bot.start()
        bot.end()

    def listed(name: str) -> list[dict[str, Any]]:
        return list(system.ask(f"/{name}?bot={NAME}&limit=10000")[name])

    until(lambda: len(listed("fills")) >= bot.trades and {each["status"] for each in listed("orders")} == {"filled"}, 60)
    fills, orders = listed("fills"), listed("orders")
    assert sorted(each["fill_id"] for each in fills) == sorted(f"f-{number + 1}" for number in range(bot.trades))
    assert sorted(each["order_id"] for each in orders) == sorted(f"o-{number + 1}" for number in range(bot.trades))
    assert {(each["status"], each["filled_quantity"]) for each in orders} == {("filled", "10000")}
    units = {each["symbol"]: int(each["quantity"]) for each in listed("positions")}
    assert units == {pair: bot.saved[pair]["units"] for pair in units}
    until(lambda: Decimal(listed("strategies")[0]["realized_pnl"]) == bot.earned, 20, lambda: f"{bot.earned} in {listed('strategies')}")
    assert NAME in system.ask("/api/metrics/current")["strategy"]["strategies"]["mean_reversion"]["bots"]


@pytest.mark.parametrize("file", [*DOCUMENTS, *PAGES], ids=relative)
def test_links_of_documents_exist(file: Path) -> None:
    for link in links(file):
        name, _, anchor = link.partition("#")
        target = (file.parent / name).resolve() if name else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


# helpers


def own_files(folder: Path) -> dict[str, str]:
    """Write the files that the documents import; return name in the documents -> path."""
    shutil.copy(ROOT / "tests/data/formats/EURUSD_M1.metatrader5-bars.csv", folder / "EURUSD_M1.csv")
    hours = pd.date_range("2026-03-02 09:00", periods=3, freq="1h", tz="UTC", name="time")
    frame = pd.DataFrame({"open": 0.861, "high": 0.866, "low": 0.86, "close": [0.862, 0.863, 0.864]}, index=hours)
    frame.to_csv(folder / "EURGBP_H1.csv", date_format="%Y-%m-%dT%H:%M:%SZ")
    return {f"import {name}": f"import {folder / name}" for name in ("EURUSD_M1.csv", "EURGBP_H1.csv")}


def _ended(command: str) -> str:
    """Return the command; one that does not end is stopped after three lines."""
    return re.sub(r"^(\S*python manage\.py (?:watch|scenario run|scenario show)[^#]*)", r"timeout 60 \1 | head -n 3 ", command)


def surroundings(system: System) -> dict[str, str]:
    """Return the environment of a shell whose settings name the running system."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **system.environ, "PATH": path, "LOG_FORMAT": "text", "KEY": system.key}


def fits(schema: Any, body: Any) -> bool:
    try:
        schema.load(body)
    except ValidationError:
        return False
    return True
