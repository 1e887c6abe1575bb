"""One client that sends bad credentials to a hub; prints the number of accepted ones.

`python -m tests.bench.access.guesser PORT KIND COUNT`. The kinds are `keys` and `tokens`, and
`single-keys` with a new connection for each key.
"""

from __future__ import annotations

import http.client
import sys
import time

from config.access.keys import new_key
from tests.bench.servers import BenchError
from tests.support.tokens import claims, token

_TARGET = "/socket.io/?EIO=4&transport=polling"
_REFUSED = (401, 429)


def guess(port: int, kind: str, count: int) -> int:
    """Send that many credentials, each another one; return the number of accepted ones."""
    now = time.time()
    made = [new_key()[1] if kind.endswith("keys") else token("HS256", claims(now, jti=str(number)), key="k" * 32) for number in range(count)]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    connection, accepted = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
    for each in made:
        connection.request("GET", _TARGET, headers={"Authorization": f"Bearer {each}"})
        answer = connection.getresponse()
        answer.read()
        if answer.status not in (200, *_REFUSED):
            raise BenchError(f"a bad credential was answered with {answer.status}")
        accepted += answer.status == 200
        if kind == "single-keys":
            connection.close()
    return accepted


if __name__ == "__main__":
    print(guess(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
