"""One client that sends bad credentials to a hub; prints the number of accepted ones.

`python -m tests.bench.access.guesser PORT KIND COUNT`. The kinds are `keys` and `tokens`, and
`single-keys` with a new connection for each key. The client is a bare socket: it needs less time
for a guess than the hub, so the hub alone limits the rate.
"""

from __future__ import annotations

import re
import socket
import sys
import time

from config.access.keys import new_key
from tests.bench.servers import BenchError
from tests.support.tokens import claims, token

_REFUSED = (401, 429)
_answer = re.compile(rb"HTTP/1\.1 (\d{3}) .*\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", re.DOTALL | re.IGNORECASE).match


def guess(port: int, kind: str, count: int) -> int:
    """Send that many credentials, each another one; return the number of accepted ones."""
    now = time.time()
    bad_tokens = kind == "tokens"
    made = [token("HS256", claims(now, jti=str(number)), key="k" * 32) if bad_tokens else new_key()[1] for number in range(count)]
    requests = [_request(port, each) for each in made]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    sock, accepted = socket.create_connection(("127.0.0.1", port), timeout=30), 0
    for each in requests:
        status = _status(sock, each)
        if status not in (200, *_REFUSED):
            raise BenchError(f"a bad credential was answered with {status}")
        accepted += status == 200
        if kind == "single-keys":
            sock.close()
            sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.close()
    return accepted


def _request(port: int, credential: str) -> bytes:
    head = f"Host: 127.0.0.1:{port}\r\nAccept-Encoding: identity\r\nAuthorization: Bearer {credential}\r\n"
    return f"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n{head}\r\n".encode()


def _status(sock: socket.socket, request: bytes) -> int:
    sock.sendall(request)
    data = b""
    while (head := _answer(data)) is None or len(data) < head.end() + int(head[2]):
        more = sock.recv(65536)
        if not more:
            raise BenchError("the hub has closed the connection")
        data += more
    return int(head[1])


if __name__ == "__main__":
    print(guess(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
