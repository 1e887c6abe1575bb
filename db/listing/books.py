"""The listings of order books and of the runs of scenarios."""

from __future__ import annotations

from dataclasses import replace

from db.listing.query import Column, Filter, Listing

BOOK_TOPS = Listing(
    name="book_history",
    table="book_tops",
    columns=(
        Column("time", "time"),
        *(Column(name, "decimal") for name in ("bid", "bid_qty", "ask", "ask_qty")),
        Column("spread", "decimal", computed="ask - bid"),
        Column("weighted_mid", "decimal"),
        Column("imbalance", "number"),
        Column("update_id", "integer"),
        Column("state", "text"),
    ),
    key=("time",),
    filters=(Filter("symbol"),),
)

BOOK_SNAPSHOTS = Listing(
    name="book_snapshots",
    table="book_snapshots",
    columns=(
        Column("time", "time"),
        Column("update_id", "integer"),
        *(Column(side, "json", computed=f"body -> '{side}'") for side in ("bids", "asks")),
    ),
    key=("time",),
    filters=(Filter("symbol"),),
)

SCENARIO_RUNS = Listing(
    name="scenario_runs",
    table="scenario_runs",
    columns=(
        # As text: a page token with a text that is no uuid must not fail.
        Column("run_id", "text", computed="run_id::text"),
        Column("scenario", "text"),
        Column("start", "time", "started"),
        Column("end", "time", "ended", optional=True),
        Column("seed", "integer"),
        Column("peak_queue", "integer", optional=True),
        Column("peak_lag_ms", "number", optional=True),
        *(Column(name, "integer", optional=True) for name in ("gaps", "resyncs")),
        *(Column(name, "number", optional=True) for name in ("detect_seconds", "recover_seconds")),
        Column("wrong_books", "integer", optional=True),
        Column("outcome", "text", optional=True),
    ),
    key=("start", "run_id"),
    filters=(Filter("scenario"), Filter("outcome")),
)

# One run, with all that is stored of it.
SCENARIO_RUN = replace(
    SCENARIO_RUNS,
    columns=(*SCENARIO_RUNS.columns, Column("parameters", "json"), Column("timeline", "json", optional=True)),
    filters=(Filter("run_id"),),
)
