"""Scripts on nodes: one pipeline per node with WAIT behind every EVALSHA, and errors of Redis."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import RedisError, ResponseError

from db.bus.confirmation import OWNER, RUN_ID, Confirmation, NodesAlone, ScriptCall
from db.bus.errors import BusError, BusFenced, BusMoved, BusUnreplicated, translated
from db.bus.nodes import Node
from db.bus.topology.setup import BusSetup

ORDER: list[str] = []  # of all connections: their writes and reads


class FakeConnection:
    """Answers each command of a pipeline in order; WAIT with the number of its replicas."""

    def __init__(self, name: str, replicas: int) -> None:
        self.name, self.replicas = name, replicas
        self.sent: list[tuple[Any, ...]] = []
        self.answers: list[Any] = []
        self.error: Exception | None = None
        setattr(self, RUN_ID, f"run-{name}")

    def pack_commands(self, commands: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return commands

    def send_packed_command(self, commands: list[tuple[Any, ...]], check_health: bool) -> None:
        ORDER.append(f"write {self.name}")
        self.sent += commands
        self.answers += [self.replicas if words[0] == "WAIT" else f"{self.name}:{words[3]}" for words in commands]

    def read_response(self) -> Any:
        ORDER.append(f"read {self.name}")
        if self.error is not None:
            raise self.error
        return self.answers.pop(0)

    def disconnect(self) -> None:
        ORDER.append(f"disconnect {self.name}")


class FakeClient:
    """A client, and its own pool of one connection."""

    def __init__(self, name: str, replicas: int) -> None:
        self.connection = FakeConnection(name, replicas)
        self.connection_pool = self

    def get_connection(self) -> FakeConnection:
        return self.connection

    def release(self, connection: FakeConnection) -> None:
        ORDER.append(f"release {connection.name}")

    def info(self, section: str) -> dict[str, int]:
        return {"connected_slaves": self.connection.replicas}


class FakeNodes:
    """Two nodes: `a` has the keys that begin with a, `b` the others."""

    def __init__(self, replicas: int = 1, owner: str = "") -> None:
        self.nodes = {name: Node(name, FakeClient(name, replicas), owner) for name in ("a", "b")}
        self.failures: list[RedisError] = []

    def of(self, key: str) -> Node:
        return self.nodes["a" if key.startswith("a") else "b"]

    def failed(self, error: RedisError) -> None:
        self.failures.append(error)

    def connection(self, name: str) -> FakeConnection:
        return self.nodes[name].client.connection  # type: ignore[no-any-return]


def confirmation(nodes: FakeNodes, **setup: Any) -> Confirmation:
    ORDER.clear()
    chosen = BusSetup(**{"wait_replicas": 1, "wait_ms": 7, **setup})
    return Confirmation(nodes, chosen, lambda: None, NodesAlone())  # type: ignore[arg-type]


CALLS: list[ScriptCall] = [(["a1"], ["x"]), (["b1"], ["x"]), (["a2"], ["x"]), (["b2"], ["x"])]


def test_wait_stands_behind_every_script_of_its_pipeline_and_answers_are_in_order() -> None:
    nodes = FakeNodes()
    assert confirmation(nodes).run("return 1", CALLS, confirmed=True) == ["a:a1", "b:b1", "a:a2", "b:b2"]
    for name in ("a", "b"):
        words = [command[0] for command in nodes.connection(name).sent]
        assert words == ["EVALSHA", "EVALSHA", "WAIT"]
        assert nodes.connection(name).sent[-1] == ("WAIT", 1, 7)
    assert ["write a", "write b", *["read a"] * 3, *["read b"] * 3, "release a", "release b"] == ORDER


@pytest.mark.parametrize(("replicas", "confirmed"), [(0, True), (1, False)])
def test_no_wait_is_sent_without_replicas_to_wait_for(replicas: int, confirmed: bool) -> None:
    nodes = FakeNodes()
    confirmation(nodes, wait_replicas=replicas).run("return 1", CALLS, confirmed=confirmed)
    assert [command[0] for command in nodes.connection("a").sent] == ["EVALSHA"] * 2


@pytest.mark.parametrize("strict", [False, True])
def test_too_few_replicas_refuse_the_batch(strict: bool) -> None:
    with pytest.raises(BusUnreplicated):
        confirmation(FakeNodes(replicas=1), wait_replicas=2, strict=strict).run("return 1", CALLS, confirmed=True)


@pytest.mark.parametrize(("owner", "sent"), [("myid", "myid"), ("one:7000", "one:7000"), ("", "run-a")])
def test_owner_is_that_of_the_node_or_of_the_server_of_the_connection(owner: str, sent: str) -> None:
    nodes = FakeNodes(owner=owner)
    confirmation(nodes).run("return 1", [(["a1"], ["x", OWNER, "y"])], confirmed=False)
    assert nodes.connection("a").sent[0][-3:] == ("x", sent, "y")


def test_lost_connection_of_one_node_leaves_no_answer_of_another_unread() -> None:
    nodes = FakeNodes()
    nodes.connection("a").error = RedisError("gone")
    with pytest.raises(RedisError, match="gone"):
        confirmation(nodes).run("return 1", CALLS, confirmed=True)
    assert nodes.connection("b").answers == []
    assert "disconnect a" in ORDER
    assert "disconnect b" not in ORDER
    assert len(nodes.failures) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "reason"),
    [
        ("MOVED 1 127.0.0.1:7000", BusMoved, "moved"),
        ("ASK 1 127.0.0.1:7000", BusMoved, "moved"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", BusMoved, "moved"),
        ("CLUSTERDOWN The cluster is down", BusMoved, "moved"),
        ("READONLY You can't write against a read only replica.", BusMoved, "moved"),
        ("MASTERDOWN Link with MASTER is down", BusMoved, "moved"),
        ("NOREPLICAS Not enough good replicas to write.", BusMoved, "moved"),
        ("LOADING Redis is loading the dataset in memory", BusError, "lost"),
        ("FENCED 12", BusFenced, "fenced"),
    ],
)
def test_reply_becomes_its_error_of_the_bus(reply: str, kind: type[BusError], reason: str) -> None:
    from redis._parsers.base import BaseParser

    nodes = FakeNodes()
    error = BaseParser.parse_error(reply)  # type: ignore[no-untyped-call]
    assert isinstance(error, ResponseError | RedisError)
    nodes.connection("a").error = error
    with pytest.raises(BusError) as raised, translated():
        confirmation(nodes).run("return 1", CALLS[:1], confirmed=False)
    assert (type(raised.value), raised.value.reason) == (kind, reason)
