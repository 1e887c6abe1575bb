"""A client of several servers: each command goes to the server of its key."""

from __future__ import annotations

from typing import Any

import redis
from redis.commands.core import CoreCommands

from db.bus.nodes import Node, Nodes

# Commands whose key is not the first argument, with its place. -1: no key.
_KEY_AT = {"EVALSHA": 3, "PING": -1, "INFO": -1, "TIME": -1, "CONFIG GET": -1, "PUBLISH": -1, "SCRIPT LOAD": -1, "WAIT": -1}


class RoutedRedis(CoreCommands):
    """The part of `redis.Redis` that the bus uses, over the nodes of a cluster or of sentinels.

    A command without a key goes to the node of shard 0. A command with several keys needs them in
    one slot.
    """

    _event_dispatcher: Any = None  # of the nodes' own clients

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    @property
    def connection_pool(self) -> Any:
        """The pool of the node of shard 0, at present."""
        return self._nodes.first().client.connection_pool

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command to the node of its key; return the answer."""
        try:
            return _node_of(self._nodes, args).client.execute_command(*args, **options)
        except redis.RedisError as error:
            self._nodes.failed(error)
            raise

    def pipeline(self, transaction: bool = True) -> RoutedPipeline:
        """A pipeline over the nodes. A transaction needs all its keys on one of them."""
        return RoutedPipeline(self._nodes, transaction)

    def close(self) -> None:
        """Close every connection."""
        self._nodes.close()


class RoutedPipeline(CoreCommands):
    """Commands that are sent together, in one round trip per node."""

    _event_dispatcher: Any = None

    def __init__(self, nodes: Nodes, transaction: bool) -> None:
        self._nodes = nodes
        self._transaction = transaction
        self._commands: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def execute_command(self, *args: Any, **options: Any) -> RoutedPipeline:
        """Keep a command until `execute`."""
        self._commands.append((args, options))
        return self

    def execute(self) -> list[Any]:
        """Send all commands; return their answers in order. Raises the first error."""
        commands, self._commands = self._commands, []
        answers: list[Any] = [None] * len(commands)
        try:
            places: dict[Node, list[int]] = {}
            for place, (args, _) in enumerate(commands):
                places.setdefault(_node_of(self._nodes, args), []).append(place)
            if self._transaction and len(places) > 1:
                raise redis.ResponseError("CROSSSLOT a transaction has keys of several nodes")
            for node, mine in places.items():
                of_node = node.client.pipeline(transaction=self._transaction)
                for place in mine:
                    args, options = commands[place]
                    of_node.execute_command(*args, **options)
                for place, answer in zip(mine, of_node.execute(), strict=True):
                    answers[place] = answer
        except redis.RedisError as error:
            self._nodes.failed(error)
            raise
        return answers


def _node_of(nodes: Nodes, args: tuple[Any, ...]) -> Node:
    name = args[0]
    if name == "XREADGROUP":
        return nodes.of(args[args.index(b"STREAMS") + 1])
    place = _KEY_AT.get(name, 1)
    return nodes.first() if place < 0 or len(args) <= place else nodes.of(args[place])
