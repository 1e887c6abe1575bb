"""Capture the example messages of docs/examples, and update the documents that quote them.

    .venv/bin/python scripts/capture_examples.py      # needs Node, as `make test`

Starts servers, a hub with an observer, and a whole system on their own ports, in a temporary
folder, and stops them. Takes about a minute. docs/examples/NAME.json replaces the text between
`<!-- example: NAME -->` and `<!-- end -->` in a document. The examples of BACKEND_API.md are
written by another command:

    TICKWIRE_CAPTURE=1 .venv/bin/python -m pytest tests/integration/test_backend_api.py -k capture
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from config import settings
from db import migrate
from db.bus import Bus
from db.instruments import all_instruments, calendars_of
from db.postgres import Store
from ops import embedded
from ops.supervisor import Supervisor
from tests.examples import hub, rest
from tests.examples.example import DOCUMENTS, Examples, quote_again, write_all
from tests.examples.system import living


def main() -> None:
    """Capture, write, quote."""
    with tempfile.TemporaryDirectory(prefix="tickwire-examples-") as name:
        examples = {**_of_the_hub(Path(name)), **_of_rest(Path(name))}
    write_all(examples)
    for document in DOCUMENTS:
        document.write_text(quote_again(document.read_text(), examples))
    print(f"{len(examples)} examples")


def _of_the_hub(folder: Path) -> Examples:
    with Supervisor() as supervisor:
        postgres, redis = embedded.postgres(folder), embedded.redis(folder)
        supervisor.start(postgres, redis)
        migrate.apply(postgres.url)
        environ = {"DATABASE_URL": postgres.url, "REDIS_URL": redis.url, "HUB_DATA_DIR": str(folder / "var"), "SOURCES": ""}
        with closing(Bus(redis.url, lambda: datetime.now(UTC))) as bus, closing(Store(postgres.url)) as store:
            with store.transaction() as cursor:
                bus.set_instruments(calendars_of(all_instruments(cursor)))
            return hub.capture(settings.load(environ, dotenv=None), bus, folder)


def _of_rest(folder: Path) -> Examples:
    with living(folder) as system:
        return rest.capture(system)


if __name__ == "__main__":
    main()
