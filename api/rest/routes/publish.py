"""Prices from outside: checked here, numbered by the bus, stored by the writer of prices."""

from __future__ import annotations

import re
from typing import Any

from flask import g, request

from api.access.model import PUBLISH, Access
from api.rest.batches import read_entries
from api.rest.context import context
from api.rest.limits.requests import take_prices
from api.rest.published import Reception, read_batch
from api.rest.routing import Routes
from api.rest.schemas.answers import ErrorResponseSchema
from api.rest.schemas.publish import BODY, PRICES, PublishResultSchema
from config.venues import PUBLISHED

_UNUSUAL = re.compile(r"[^A-Za-z0-9_.-]")

routes = Routes("publish", "Prices from outside")


@routes.post("/prices", PublishResultSchema, scope=PUBLISH, fails={413: ErrorResponseSchema, 422: ErrorResponseSchema}, doc=BODY)
def publish() -> Any:
    """Publish prices: they are numbered, sent to clients and stored, in the order of the batch.

    A price that is refused is in `rejected`, and the others are accepted. Either all of these are,
    in one step, or the answer is 503 and none is. The same instrument, time, bid, ask and mid as in
    the last 15 minutes is a duplicate. A price without `time` gets the time of its reception and is
    never a duplicate.
    """
    entries = read_entries(PRICES, request.mimetype, request.get_data(cache=False))
    take_prices(len(entries))
    app, access = context(), g.access
    source = _source(access)
    batch = read_batch(entries, Reception(app.bus.windows(source), access.may_publish, source, app.clock()))
    stamps = app.bus.publish_once(batch.quotes, batch.timed)
    duplicates = stamps.count(None)
    return {"accepted": len(stamps) - duplicates, "duplicates": duplicates, "rejected": batch.rejected}


def _source(access: Access) -> str:
    """Return the source of the caller's prices in the store: `publish:NAME` if it has a name."""
    return f"{PUBLISHED}:{_UNUSUAL.sub('_', access.name)}" if access.name else PUBLISHED
