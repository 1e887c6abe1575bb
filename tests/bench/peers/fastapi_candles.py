"""`/candles` as a typical FastAPI application: asyncpg, orjson and uvicorn.

`fastapi_candles PORT DATABASE_URL`
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, Response

_QUERY = """SELECT start_time, end_time, open, high, low, close, volume, complete, trades, source FROM candles
WHERE symbol = $1 AND interval = $2 AND start_time >= $3 ORDER BY start_time LIMIT $4"""


def make_app(database_url: str) -> FastAPI:
    """Build the application."""
    pools: list[Any] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pools.append(await asyncpg.create_pool(database_url, min_size=4, max_size=8))
        yield
        await pools[0].close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/candles")
    async def candles(symbol: str, interval: str = "1h", start: datetime = datetime(1970, 1, 1, tzinfo=UTC), limit: int = 1000) -> Response:
        rows = await pools[0].fetch(_QUERY, symbol, interval, start, limit)
        found = [
            {
                "start_time": _time(row["start_time"]),
                "end_time": _time(row["end_time"]),
                "open": str(row["open"]),
                "high": str(row["high"]),
                "low": str(row["low"]),
                "close": str(row["close"]),
                "volume": str(row["volume"]),
                "complete": row["complete"],
                "trades": row["trades"],
                "source": row["source"],
            }
            for row in rows
        ]
        body = {"symbol": symbol, "interval": interval, "candles": found, "next_page_token": None}
        return Response(orjson.dumps(body), media_type="application/json")

    return app


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
