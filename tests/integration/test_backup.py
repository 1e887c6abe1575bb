"""`backup` and `restore`: the drill on a live system under load, refusals, interruptions."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from errno import ENOSPC
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from config.settings import load
from db import topics
from db.bus import Bus, RestoredBus
from db.messages import Trade
from db.postgres import Store
from db.timestamps import utc_now
from ops.backup import manifest as manifests
from ops.backup.manifest import Manifest
from ops.backup.restore import check
from ops.backup.save import Sources, save
from ops.process import StartError, StopAsked, Unfit
from tests.conftest import Servers, new_database, until
from tests.integration.test_bus import tick, trade
from tests.standins.binance import BinanceStandIn
from tests.support.clients import PythonClient
from tests.support.processes import ROOT
from tests.support.store import select, stored_trades, trade_gaps
from tests.support.up import Environment, Up, manage, starter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]  # the drill alone starts two systems

Numbers = dict[str, int]  # instrument -> highest seq


@dataclass(slots=True)
class Drill:
    """What was seen before the backup, and after the restore."""

    environment: Environment
    saved: Path
    manifest: Manifest
    passwords: list[str]
    outputs: list[str] = field(default_factory=list)  # of the commands
    epoch: str = ""
    accepted: Numbers = field(default_factory=dict)  # before the backup began
    refused: int = 0  # exit code of a restore beside the running system
    answer: dict[str, Any] = field(default_factory=dict)  # of a client that returns
    new_epoch: str = ""
    prices: list[tuple[str, int, int]] = field(default_factory=list)  # instrument, rows, highest seq of the old epoch
    trades: list[Trade] = field(default_factory=list)
    expected: list[Trade] = field(default_factory=list)
    open_gaps: list[Any] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)  # channels with no unstored record, at some moment


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Drill:
    """Start, ingest, back up while ingesting, stop, move the data away, restore, start."""
    folder = tmp_path_factory.mktemp("drill")
    environment = Environment(folder / "var")
    with BinanceStandIn(folder, trades=20_000, per_second=300.0, speed=1.0) as exchange, starter(environment, folder) as start:
        environment.update(exchange.variables, SOURCES="synthetic,binance", INGESTION_INTERVAL_SECONDS="0.05", BATCH_TIMEOUT="100")
        with opened(start().ready()) as (bus, store, up):
            until(lambda: len(stored_trades(store)) > 500, 60, "trades in the store")
            with closing(RestoredBus(up.run["redis_url"], utc_now)) as before:
                facts = before.facts()
            done = manage(environment, "backup", str(folder / "saved"), "--verify")
            assert done.returncode == 0, done.stderr
            beside = manage(environment, "restore", str(folder / "saved"), "--yes")
            found = Drill(environment, folder / "saved", manifests.read(folder / "saved"), passwords(up.hub_dir))
            found.epoch, found.accepted, found.refused = str(facts.epoch), facts.seq[topics.PRICES], beside.returncode
            position = exchange.state()["position"]
            until(lambda: moved(exchange, position), 60, "trades after the backup")
            exchange.control("pause")
            assert up.end(signal.SIGTERM) == 0
        (folder / "var").rename(folder / "lost")
        restored = manage(environment, "restore", str(folder / "saved"), "--yes")
        assert restored.returncode == 0, restored.stderr
        exchange.control("speed", speed=40.0)
        exchange.control("go")
        found.outputs = [text for each in (done, beside, restored) for text in (each.stdout, each.stderr)]
        with opened(start().ready()) as (bus, store, up):
            observe(found, bus, store, up, exchange)
            assert up.end(signal.SIGTERM) == 0
    return found


@contextmanager
def opened(up: Up) -> Iterator[tuple[Bus, Store, Up]]:
    """Yield bus and store of a running system."""
    run = up.run
    with closing(Bus(run["redis_url"], utc_now)) as bus, closing(Store(run["database_url"], timeout_ms=60_000)) as store:
        yield bus, store, up


def moved(exchange: BinanceStandIn, position: int) -> bool:
    """Return True if the market has made 100 more messages."""
    return bool(exchange.state()["position"] > position + 100)


def is_stored(bus: Bus, channel: str) -> bool:
    """Return True if no record waits; a negative number is wrong and never passes."""
    return bus.unstored(channel) == 0


def passwords(hub_dir: Path) -> list[str]:
    return [file.read_text().strip() for file in hub_dir.glob("*.password")]


def observe(found: Drill, bus: Bus, store: Store, up: Up, exchange: BinanceStandIn) -> None:
    """Fill the part after the restore: a client, and the rows when the market has ended."""
    since = {"EUR_USD": {"epoch": found.epoch, "seq": found.accepted["EUR_USD"]}}
    with PythonClient(up.run["hub"]) as client:
        found.answer = client.call("subscribe", {"pairs": "EUR_USD", "since": since})
        found.new_epoch = client.wait("price_update", where=lambda body: body["instrument"] == "EUR_USD")["epoch"]
    found.passwords += passwords(up.hub_dir)
    until(lambda: exchange.state()["ended"], 90, "the end of the market")
    found.expected = exchange.expected()
    until(lambda: len(stored_trades(store)) >= len(found.expected), 60, lambda: f"{len(stored_trades(store))} trades")
    found.trades = stored_trades(store)
    found.open_gaps = trade_gaps(store, "open", "unfillable")
    # Prices arrive all the time: each channel is empty at some moment.
    for channel in (topics.PRICES, topics.TRADES):
        until(partial(is_stored, bus, channel), 60, channel)
        found.stored.append(channel)
    statement = "SELECT instrument, count(*), max(seq) FROM prices WHERE epoch = %s GROUP BY 1"
    found.prices = [tuple(row) for row in select(store, statement, found.epoch)]


def test_every_accepted_price_is_there_once_without_a_hole(drill: Drill) -> None:
    assert len(drill.accepted) > 20
    copied = drill.manifest.seq[topics.PRICES]
    assert copied.keys() >= drill.accepted.keys()
    assert all(copied[instrument] >= seq for instrument, seq in drill.accepted.items())
    assert {instrument for instrument, _, _ in drill.prices} >= copied.keys()
    for instrument, rows, highest in drill.prices:
        assert rows == highest, instrument  # (instrument, epoch, seq) is unique, and seq begins at 1
        assert highest >= copied.get(instrument, 0), instrument


def test_trades_are_complete_and_their_gaps_filled(drill: Drill) -> None:
    assert drill.trades == drill.expected
    assert drill.open_gaps == []
    assert len(drill.trades) > drill.manifest.rows["raw_trades"] + 100  # those after the backup came again from the venue


def test_clients_see_a_new_epoch_and_nothing_stays_unstored(drill: Drill) -> None:
    assert drill.answer["recovered"] == {"EUR_USD": False}
    assert drill.new_epoch != drill.epoch
    assert drill.stored == [topics.PRICES, topics.TRADES]


def test_backup_is_private_and_has_no_password(drill: Drill) -> None:
    assert drill.refused == 2  # beside the running system
    files = [path for path in drill.saved.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (drill.saved, drill.saved / "redis")} == {0o700}
    assert len(drill.passwords) == 10
    for password in drill.passwords:
        assert not any(password in text for text in drill.outputs)
        assert not any(password.encode() in path.read_bytes() for path in files)
    assert drill.manifest.rows["raw_trades"] > 500


# refusals


def changed(drill: Drill, folder: Path, **fields: Any) -> Path:
    """Copy the backup and change fields of its manifest."""
    shutil.copytree(drill.saved, folder)
    replace(drill.manifest, **fields).write(folder)
    return folder


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_ino, path.stat().st_size) for path in folder.rglob("*") if path.name not in ("up.lock", "logs")}


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda drill, to: changed(drill, to, tickwire="99.0.0"), "install that version first"),
        (lambda drill, to: changed(drill, to, migrations=("9999.later",)), "9999.later"),
        (lambda drill, to: changed(drill, to, timescaledb="2.29.2"), "TimescaleDB 2.29.2"),
        (lambda drill, to: changed(drill, to, postgresql="19.0"), "PostgreSQL 19"),
        (lambda drill, to: changed(drill, to, redis="7.4.1"), "Redis 7.4.1"),
        (lambda drill, to: flipped(changed(drill, to)), "SHA-256"),
        (lambda drill, to: shortened(changed(drill, to)), "bytes"),
        (lambda drill, to: extended(changed(drill, to)), "not in the manifest"),
        (lambda drill, to: to, "interrupted"),
    ],
    ids=["version", "migration", "timescaledb", "postgresql", "redis", "changed file", "short file", "more files", "no backup"],
)
def test_restore_that_does_not_fit_is_refused(drill: Drill, tmp_path: Path, spoil: Callable[[Drill, Path], Path], text: str) -> None:
    chosen = load(drill.environment, dotenv=None)
    with pytest.raises(Unfit, match=text):
        check(chosen, tmp_path / "spoiled", manifests.read(spoil(drill, tmp_path / "spoiled")), utc_now, lambda line: None)


def test_refused_restore_changes_nothing(drill: Drill, tmp_path: Path) -> None:
    hub_dir = Path(drill.environment["HUB_DATA_DIR"])
    before = contents(hub_dir)
    done = manage(drill.environment, "restore", str(flipped(changed(drill, tmp_path / "spoiled"))), "--yes")
    assert (done.returncode, "SHA-256" in done.stderr) == (2, True), done.stderr
    assert contents(hub_dir) == before


def flipped(folder: Path) -> Path:
    """Change one byte in the middle of the dump."""
    file = folder / manifests.DUMP
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return folder


def shortened(folder: Path) -> Path:
    file = folder / "redis" / "appendonly.aof"
    file.write_bytes(file.read_bytes()[:-1])
    return folder


def extended(folder: Path) -> Path:
    (folder / "redis" / "more.aof").touch()
    return folder


def test_verify_finds_a_changed_file(drill: Drill, tmp_path: Path) -> None:
    done = manage(drill.environment, "backup", str(flipped(changed(drill, tmp_path / "flipped"))), "--verify")
    assert (done.returncode, "SHA-256" in done.stderr) == (2, True), done.stderr


def test_configured_database_must_be_empty(drill: Drill, servers: Servers, tmp_path: Path) -> None:
    with new_database(servers) as url:
        environment = Environment(tmp_path / "var")
        environment.update(DATABASE_URL=url, REDIS_URL=servers.redis_url)
        done = manage(environment, "restore", str(drill.saved), "--yes")
        assert (done.returncode, "not empty" in done.stderr) == (2, True), done.stderr


def test_prompt_that_is_declined_changes_nothing(drill: Drill) -> None:
    hub_dir = Path(drill.environment["HUB_DATA_DIR"])
    before = contents(hub_dir)
    done = subprocess.run(
        [sys.executable, "manage.py", "restore", str(drill.saved)],
        cwd=ROOT, env=drill.environment, input="n\n", capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, "Restore the backup of" in done.stderr) == (1, True), done.stderr
    assert contents(hub_dir) == before


# interruptions

KILLED = """
import os, signal, sys
from pathlib import Path
from db.timestamps import utc_now
from ops.backup.save import Sources, save

database, redis, folder, step = sys.argv[1:]

def say(text):
    if text.startswith(step):
        os.kill(os.getpid(), signal.SIGKILL)

save(Sources(database, database, redis, Path(redis.split("@")[1].split("?")[0]).parent, True), Path(folder), "dump", utc_now, say)
"""


@pytest.mark.parametrize("step", ["copying", "dumping", "computing"])
def test_backup_killed_at_a_step_has_no_manifest(servers: Servers, drill: Drill, tmp_path: Path, step: str) -> None:
    folder = tmp_path / "saved"
    done = subprocess.run([sys.executable, "-c", KILLED, servers.database_url, servers.redis_url, str(folder), step], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert folder.is_dir()
    assert not (folder / manifests.FILE).exists()
    if any(folder.iterdir()):
        again = manage(drill.environment, "backup", str(folder))
        assert (again.returncode, "interrupted backup" in again.stderr) == (2, True), again.stderr


def test_manifest_is_one_json_object(drill: Drill) -> None:
    found = json.loads((drill.saved / manifests.FILE).read_text())
    assert set(found["files"]) == {"database.dump", "redis/appendonly.aof"}
    assert found["created"].endswith("Z")


def sources_of(servers: Servers) -> Sources:
    redis_dir = Path(servers.redis_url.partition("@")[2].partition("?")[0]).parent
    return Sources(servers.database_url, servers.database_url, servers.redis_url, redis_dir, embedded=True)


@pytest.mark.parametrize(("cause", "error"), [(StopAsked(), StopAsked), (OSError(ENOSPC, "of the test"), StartError)])
def test_backup_that_ends_early_leaves_nothing(servers: Servers, tmp_path: Path, cause: Exception, error: type[Exception]) -> None:
    folder = tmp_path / "saved"

    def say(text: str) -> None:
        if text.startswith("computing"):
            assert (folder / manifests.DUMP).stat().st_size > 0
            raise cause

    sources = sources_of(servers)
    with pytest.raises(error):
        save(sources, folder, "dump", utc_now, say)
    assert not folder.exists()


def test_second_backup_into_the_same_directory_is_refused(servers: Servers, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    sources = sources_of(servers)
    refused: list[str] = []

    def say(text: str) -> None:
        if text.startswith("copying") and not refused:
            held = list(folder.iterdir())
            for path in held:  # as if the second one had looked before the first file was there
                path.rename(tmp_path / path.name)
            with pytest.raises(Unfit) as error:
                save(sources, folder, "dump", utc_now, lambda text: None)
            refused.append(str(error.value))
            for path in held:
                (tmp_path / path.name).rename(path)

    save(sources, folder, "dump", utc_now, say)
    assert refused == [f"another backup writes into {folder}: name another directory"]
    assert (folder / manifests.FILE).is_file()


def test_backup_of_an_empty_data_directory_is_refused(tmp_path: Path) -> None:
    done = manage(Environment(tmp_path / "var"), "backup", str(tmp_path / "saved"))
    assert (done.returncode, "has no data" in done.stderr) == (2, True), done.stderr
    assert list(tmp_path.iterdir()) == []


# other ways


def test_physical_copy_is_restored_with_new_passwords(drill: Drill, tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    done = manage(drill.environment, "backup", str(saved), "--physical")
    assert done.returncode == 0, done.stderr
    elsewhere = Environment(tmp_path / "var")
    restored = manage(elsewhere, "restore", str(saved), "--yes")
    assert restored.returncode == 0, restored.stderr
    expected = manifests.read(saved).rows
    assert expected["raw_trades"] == len(drill.trades)
    shown = {words[0]: int(words[3]) for words in map(str.split, restored.stdout.splitlines()) if len(words) == 5}
    assert {table: shown.get(table, 0) for table in expected} == expected  # the system was stopped
    assert not set(passwords(tmp_path / "var")) & set(passwords(Path(drill.environment["HUB_DATA_DIR"])))


@pytest.fixture
def empty_database(servers: Servers) -> Iterator[str]:
    """A database without a table."""
    with closing(psycopg2.connect(servers.database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE empty_of_test")
            yield servers.database_url.rsplit("/", 1)[0] + "/empty_of_test"
            cursor.execute("DROP DATABASE empty_of_test WITH (FORCE)")


def test_own_servers_get_the_rows_and_their_streams_begin_again(
    drill: Drill, servers: Servers, empty_database: str, bus: Bus, tmp_path: Path
) -> None:
    """Three prices and five trades, of which a writer has read all and acknowledged some."""
    bus.publish_prices([tick(number) for number in range(3)])
    for channel in (topics.PRICES, topics.TRADES):
        bus.open_group(channel)
    first, *_ = bus.read_unstored(topics.PRICES, 10, 0)
    bus.acknowledge(topics.PRICES, [first.id])
    bus.publish_trades([trade(number) for number in range(2)], "binance/1")
    bus.publish_trades([trade(number) for number in range(2, 5)], "binance/2")
    bus.forget_trades(bus.read_unstored_trades(1, 0))
    assert (bus.unstored(topics.PRICES), bus.unstored(topics.TRADES)) == (2, 3)
    environment = Environment(tmp_path / "var")
    environment.update(DATABASE_URL=empty_database, REDIS_URL=servers.operator_url)
    done = manage(environment, "restore", str(drill.saved), "--yes")
    assert done.returncode == 0, done.stderr
    # The first price is in the stream still, the first two trades are not.
    assert (bus.unstored(topics.PRICES), bus.unstored(topics.TRADES)) == (3, 3)
    assert bus.epoch() is None
    assert bus.read_unstored(topics.PRICES, 1, 0)[0].id == first.id
    assert len(bus.read_unstored_trades(10, 0)) == 1
    with closing(Store(empty_database)) as store:
        assert select(store, "SELECT count(*) FROM raw_trades") == [(drill.manifest.rows["raw_trades"],)]
