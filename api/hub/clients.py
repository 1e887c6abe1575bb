"""The clients of the hub: the state of each, and an index by the identity of their callers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from api.access.model import Access
from api.access.table import TableChange
from api.hub.fanout import Fanout
from api.hub.transport.limits.bucket import Bucket
from config.access.patterns import Patterns

_CLIENTS_PER_TURN = 100  # of a change of the table of keys, before other greenlets run
# Scopes and patterns: clients with equal ones may receive the same broadcasts.
Rights = tuple[frozenset[str], Patterns]


@dataclass(frozen=True, slots=True)
class Client:
    """One CONNECT of a namespace. A session that joins two namespaces counts as two clients."""

    id: str  # Socket.IO's sid
    fanout: Fanout  # of its namespace
    access: Access
    bucket: Bucket  # of its session: a further CONNECT gets no new one
    owner: str  # shares a limit of alerts with all its clients; empty: no such limit
    address: str = ""
    shared: Bucket | None = None  # of all sessions of its caller; None without a credential
    session: str = ""  # Engine.IO's sid


class Clients:
    """All clients of the hub, by id."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}  # id -> client
        self._identities: dict[str, dict[str, None]] = {}  # identity -> ids of its clients
        self.rights: Counter[Rights] = Counter()  # rights -> number of clients

    def __len__(self) -> int:
        return len(self._clients)

    def __iter__(self) -> Iterator[Client]:
        """Iterate over a copy: clients may come and go in the meantime."""
        return iter(list(self._clients.values()))

    def __getitem__(self, client: str) -> Client:
        return self._clients[client]

    def get(self, client: str) -> Client | None:
        """Return the client; None if it has gone."""
        return self._clients.get(client)

    def add(self, client: Client) -> None:
        """Add a client, or replace the one with its id."""
        self.remove(client.id)
        self._clients[client.id] = client
        self.rights[client.access.scopes, client.access.patterns] += 1
        for identity in _identities(client.access):
            self._identities.setdefault(identity, {})[client.id] = None

    def remove(self, client: str) -> Client | None:
        """Remove and return a client; None if it has gone."""
        gone = self._clients.pop(client, None)
        if gone is None:
            return None
        rights = gone.access.scopes, gone.access.patterns
        self.rights[rights] -= 1
        if not self.rights[rights]:
            del self.rights[rights]
        for identity in _identities(gone.access):
            del self._identities[identity][client]
            if not self._identities[identity]:
                del self._identities[identity]
        return gone

    def change(self, client: Client, access: Access) -> Client:
        """Give a client other rights, and return its new state."""
        changed = replace(client, access=access)
        self.add(changed)
        return changed

    def of_key(self, key_id: str) -> list[Client]:
        """Return the clients with this key."""
        return self._of(f"key:{key_id}")

    def of_subject(self, subject: str) -> list[Client]:
        """Return the clients with a token of this subject."""
        return self._of(f"sub:{subject}")

    def of_token(self, jti: str) -> list[Client]:
        """Return the clients with this token."""
        return self._of(f"jti:{jti}")

    def concerned(self, change: TableChange) -> Iterator[Client]:
        """Yield the clients that a change of the table of keys is about."""
        for key_id in change.key_ids:
            yield from self.of_key(key_id)
        for jti in change.jtis:
            yield from self.of_token(jti)
        for subject in change.subjects:
            yield from self.of_subject(subject)

    def concerned_now(self, change: TableChange, pause: Callable[[], None]) -> Iterator[Client]:
        """Yield those clients if they are still here. `pause` lets other greenlets run."""
        for number, client in enumerate(self.concerned(change), 1):
            if self.get(client.id) is client:
                yield client
            if number % _CLIENTS_PER_TURN == 0:
                pause()

    def beside(self, client: Client) -> list[Client]:
        """Return the clients of the same session and caller in other namespaces."""
        same = [] if client.access.caller is None else self._of(client.access.caller)
        return [each for each in same if each.session == client.session and each.id != client.id]

    def _of(self, identity: str) -> list[Client]:
        return [self._clients[client] for client in self._identities.get(identity, ())]


def _identities(access: Access) -> list[str]:
    """Return the names under which clients with these rights are found."""
    found = [] if access.caller is None else [access.caller]
    return found if access.jti is None else [*found, f"jti:{access.jti}"]
