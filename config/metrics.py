"""The table of all metrics: the only source of their names. It is data.

The registry of metrics, `docs/operations.md`, the rules, the dashboard and the tests read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One row. `services` are its processes; without any, all of them export it."""

    name: str  # as exported
    kind: Literal["counter", "gauge", "histogram"]
    help: str  # one sentence with the unit
    labels: tuple[str, ...] = ()
    services: tuple[str, ...] = ()  # rest, hub, jobs, observer, books
    acting: bool = False  # exported by the acting process alone
    buckets: tuple[float, ...] = ()


# Upper bounds of histograms: seconds, except those of rows.
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SOURCE_DELAY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
PUBLISH_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
WRITER_BATCH_BUCKETS = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
WRITER_ROWS_BUCKETS = (1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0)
TASK_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0)
POOL_WAIT_BUCKETS = (0.001, 0.01, 0.1, 1.0, 5.0)
TRANSACTION_BUCKETS = (0.001, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SNAPSHOT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
RESYNC_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
BOOK_LAG_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


def _of(services: tuple[str, ...], *rows: Metric) -> tuple[Metric, ...]:
    """The rows of these services, of each of their processes."""
    return tuple(replace(row, services=services) for row in rows)


def _of_acting(services: tuple[str, ...], *rows: Metric) -> tuple[Metric, ...]:
    """The rows of the acting process of these services."""
    return tuple(replace(row, services=services, acting=True) for row in rows)


# In the order of the documentation. The first three names are established: others use them.
TABLE: tuple[Metric, ...] = (
    *_of_acting(
        ("jobs",),
        Metric("trades_ingested_total", "counter", "Accepted records: trades if the venue delivers trades, otherwise prices.", ("symbol",)),
        Metric("last_ingestion_timestamp", "gauge", "Unix seconds of the last acceptance of a record, of all sources."),
    ),
    *_of(
        ("rest",),
        Metric(
            "api_request_duration_seconds",
            "histogram",
            "Seconds from the start of a request to the last byte handed to the server.",
            ("endpoint",),
            buckets=REQUEST_BUCKETS,
        ),
    ),
    Metric("tickwire_build_info", "gauge", "1, with the versions of Tickwire and Python.", ("version", "python")),
    *_of(
        ("jobs", "observer", "books"),
        Metric("tickwire_acting", "gauge", "1 if this process acts for its service, otherwise 0.", ("service",)),
    ),
    *_of(
        ("jobs",),
        Metric("tickwire_duty_held", "gauge", "1 if this process has the duty, otherwise 0.", ("duty",)),
    ),
    *_of(
        ("rest",),
        Metric("tickwire_process_report_age_seconds", "gauge", "Seconds since the last heartbeat of each expected process."),
    ),
    Metric("tickwire_loop_age_seconds", "gauge", "Seconds since the last round of each long-lived loop.", ("loop",)),
    *_of(
        ("rest",),
        Metric("tickwire_part_healthy", "gauge", "1 if a part of /health works, otherwise 0.", ("part",)),
    ),
    Metric("tickwire_log_records_total", "counter", "Log records written, by level.", ("level",)),
    Metric("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes."),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory size in bytes."),
    Metric("process_start_time_seconds", "gauge", "Start time of the process in Unix seconds."),
    Metric("process_cpu_seconds_total", "counter", "User and system CPU time in seconds."),
    Metric("process_open_fds", "gauge", "Number of open file descriptors."),
    Metric("process_max_fds", "gauge", "Largest number of open file descriptors."),
    *_of_acting(
        ("jobs",),
        Metric("tickwire_source_up", "gauge", "1 if the source is live, otherwise 0.", ("source",)),
        Metric("tickwire_source_state", "gauge", "1 for the state of the source, 0 for the others.", ("source", "state")),
        Metric("tickwire_source_market_open", "gauge", "1 if a market of the source's instruments is open, otherwise 0.", ("source",)),
        Metric("tickwire_source_last_ingestion_timestamp_seconds", "gauge", "Unix seconds of the last acceptance, by source.", ("source",)),
        Metric("tickwire_source_reconnects_total", "counter", "Reconnections of the source.", ("source",)),
        Metric("tickwire_source_errors_total", "counter", "Errors of the source, transient or fatal.", ("source", "kind")),
        Metric(
            "tickwire_source_delay_seconds",
            "histogram",
            "Seconds from the time of a record to its acceptance, recordings excluded.",
            ("source",),
            buckets=SOURCE_DELAY_BUCKETS,
        ),
        Metric("tickwire_records_refused_total", "counter", "Records refused on admission.", ("source", "kind")),
        Metric("tickwire_prices_ingested_total", "counter", "Prices that the bus accepted.", ("symbol",)),
        Metric(
            "tickwire_trade_quantity_total", "counter", "Traded quantity that the bus accepted, in units of the instrument.", ("symbol",)
        ),
        Metric("tickwire_bus_published_total", "counter", "Records published on the channel, by shard of the bus.", ("channel", "shard")),
        Metric(
            "tickwire_bus_publish_duration_seconds", "histogram", "Seconds to publish one batch, retries included.", buckets=PUBLISH_BUCKETS
        ),
        Metric("tickwire_bus_retries_total", "counter", "Repeated publishes: full, lost, fenced, unreplicated or moved.", ("reason",)),
    ),
    *_of_acting(
        ("jobs", "observer"),
        Metric("tickwire_bus_unstored", "gauge", "Records on the bus that are not stored yet.", ("channel",)),
        Metric("tickwire_bus_unstored_limit", "gauge", "Unstored records at which sources wait.", ("channel",)),
    ),
    *_of_acting(
        ("jobs",),
        Metric("tickwire_bus_epochs_total", "counter", "New epochs of the bus that were seen."),
        Metric("tickwire_bus_unreplicated_batches_total", "counter", "Batches accepted without confirmation: no replica was connected."),
        Metric("tickwire_bus_parked_total", "counter", "Entries moved to the dead letters.", ("channel",)),
        Metric("tickwire_writer_rows_total", "counter", "Rows stored.", ("table",)),
        Metric("tickwire_writer_rows_refused_total", "counter", "Rows that the store refused.", ("table",)),
        Metric("tickwire_writer_failures_total", "counter", "Batches that failed.", ("table",)),
        Metric(
            "tickwire_writer_batch_duration_seconds", "histogram", "Seconds to store one batch.", ("table",), buckets=WRITER_BATCH_BUCKETS
        ),
        Metric("tickwire_writer_batch_rows", "histogram", "Rows of one batch.", ("table",), buckets=WRITER_ROWS_BUCKETS),
        Metric("tickwire_task_runs_total", "counter", "Runs of timed jobs: succeeded, failed or abandoned.", ("task", "outcome")),
        Metric("tickwire_task_duration_seconds", "histogram", "Seconds of one run of a timed job.", ("task",), buckets=TASK_BUCKETS),
        Metric("tickwire_task_last_success_timestamp_seconds", "gauge", "Unix seconds of the last success of a timed job.", ("task",)),
        Metric("tickwire_gaps_open", "gauge", "Gaps that are not filled yet.", ("source",)),
        Metric("tickwire_gaps_filled_total", "counter", "Gaps that were filled.", ("source",)),
        Metric("tickwire_timescaledb_failed_jobs", "gauge", "Background jobs of TimescaleDB whose last run failed."),
    ),
    *_of(
        ("rest",),
        Metric("tickwire_reads_total", "counter", "Reads of rows for requests, from the replica or the primary.", ("server",)),
        Metric("tickwire_read_replica_lag_seconds", "gauge", "Seconds by which the read replica is behind, if it answers."),
    ),
    Metric("tickwire_db_pool_in_use", "gauge", "Database connections in use."),
    Metric("tickwire_db_pool_size", "gauge", "Largest number of database connections."),
    Metric("tickwire_db_pool_wait_seconds", "histogram", "Seconds of waiting for a free database connection.", buckets=POOL_WAIT_BUCKETS),
    Metric("tickwire_db_transaction_seconds", "histogram", "Seconds of one database transaction.", buckets=TRANSACTION_BUCKETS),
    Metric("tickwire_db_errors_total", "counter", "Failed transactions: unavailable, refused or timeout.", ("kind",)),
    *_of(
        ("rest",),
        Metric("tickwire_api_requests_total", "counter", "Answered requests of REST.", ("endpoint", "method", "status")),
        Metric("tickwire_api_requests_in_progress", "gauge", "Requests of REST without an answer yet."),
    ),
    *_of(
        ("hub",),
        Metric("tickwire_hub_clients", "gauge", "Admitted clients, by transport; each namespace of a session is one.", ("transport",)),
        Metric("tickwire_hub_clients_limit", "gauge", "Largest number of connected Socket.IO clients."),
        Metric("tickwire_hub_sessions", "gauge", "Connections and sessions of Engine.IO, by state.", ("state",)),
        Metric("tickwire_hub_connections_total", "counter", "Sessions of Engine.IO and plain WebSockets that were opened."),
        Metric(
            "tickwire_hub_disconnects_total",
            "counter",
            "Sessions of Engine.IO and plain WebSockets that have ended, by reason.",
            ("reason",),
        ),
        Metric(
            "tickwire_hub_subscriptions",
            "gauge",
            "Rooms that clients hold, by kind; a combination of sections of the metrics is one room.",
            ("kind",),
        ),
        Metric("tickwire_hub_relayed_total", "counter", "Messages relayed from the bus.", ("channel",)),
        Metric("tickwire_hub_skipped_total", "counter", "Bad messages of the bus, which were not relayed.", ("channel",)),
        Metric(
            "tickwire_hub_relay_lag_seconds",
            "histogram",
            "Seconds from the bus's stamp to the sockets, first message of each batch.",
            buckets=LAG_BUCKETS,
        ),
        Metric("tickwire_hub_loop_lag_seconds", "histogram", "Seconds by which a timer of 100 ms is late.", buckets=LAG_BUCKETS),
        Metric("tickwire_hub_deliveries_total", "counter", "Messages that broadcasts handed to clients."),
        Metric("tickwire_hub_sends_total", "counter", "Batches of messages that broadcasts handed to clients, one write each."),
        Metric("tickwire_hub_sent_bytes_total", "counter", "Bytes of these batches."),
        Metric("tickwire_hub_conflated_total", "counter", "Messages for slow clients that newer ones replaced before they were sent."),
        Metric("tickwire_hub_outbox_bytes", "gauge", "Bytes that wait in the hub for clients."),
        Metric("tickwire_hub_outbox_clients", "gauge", "Clients for which bytes wait in the hub."),
        Metric(
            "tickwire_hub_recoveries_total",
            "counter",
            "Positions of returning clients, by whether all missed messages were there.",
            ("recovered",),
        ),
        Metric("tickwire_hub_bus_connected", "gauge", "1 if the hub is connected to the bus, otherwise 0."),
        Metric("tickwire_hub_bus_reconnects_total", "counter", "Reconnections of the hub to the bus."),
    ),
    *_of_acting(
        ("observer",),
        Metric("tickwire_reports_total", "counter", "Reports of bots: accepted, duplicate or rejected.", ("kind", "outcome")),
        Metric("tickwire_snapshot_build_seconds", "histogram", "Seconds to build one snapshot of the metrics.", buckets=SNAPSHOT_BUCKETS),
        Metric("tickwire_snapshots_missed_total", "counter", "Snapshots of the metrics that were left out."),
        Metric("tickwire_collector_errors_total", "counter", "Errors of the observer's collectors.", ("collector",)),
        Metric("tickwire_collector_circuit_open", "gauge", "1 if the collector's circuit breaker is open, otherwise 0.", ("collector",)),
        Metric("tickwire_alerts_firing", "gauge", "Active alerts.", ("type", "severity")),
    ),
    *_of_acting(
        ("books",),
        Metric("tickwire_book_state", "gauge", "1 for the state of the book, 0 for the others.", ("symbol", "state")),
        Metric("tickwire_book_updates_total", "counter", "Updates applied to the book.", ("symbol",)),
        Metric("tickwire_book_levels_total", "counter", "Changed levels of the book.", ("symbol",)),
        Metric("tickwire_book_resyncs_total", "counter", "Rebuilds of the book.", ("symbol",)),
        Metric("tickwire_book_gaps_total", "counter", "Gaps in the updates of the book.", ("symbol", "reason")),
        Metric("tickwire_book_resync_seconds", "histogram", "Seconds until a rebuilt book is live.", buckets=RESYNC_BUCKETS),
        Metric("tickwire_book_levels_held", "gauge", "Levels held of a side of the book.", ("symbol", "side")),
        Metric("tickwire_book_complete_levels", "gauge", "Levels of a side that are complete, from the best one.", ("symbol", "side")),
        Metric("tickwire_book_audit_total", "counter", "Comparisons of the book with the exchange.", ("symbol", "against", "result")),
    ),
    *_of_acting(
        ("books", "hub"),
        Metric(
            "tickwire_book_lag_seconds", "histogram", "Seconds of each stage of an update of a book.", ("stage",), buckets=BOOK_LAG_BUCKETS
        ),
    ),
    *_of_acting(
        ("books",),
        Metric("tickwire_scenario_queue_size", "gauge", "Messages of the scenario that wait."),
        Metric("tickwire_scenario_queue_max", "gauge", "Largest number of messages of the scenario that may wait."),
        Metric("tickwire_scenario_backpressure_seconds_total", "counter", "Seconds for which the full queue stopped the scenario."),
        Metric("tickwire_scenario_faults_total", "counter", "Faults that the scenario injected.", ("kind",)),
        Metric("tickwire_scenario_info", "gauge", "1, with the name of the running scenario.", ("name",)),
    ),
    *_of(
        ("rest", "hub"),
        Metric("tickwire_access_refusals_total", "counter", "Requests refused by access control, by reason.", ("reason",)),
        Metric("tickwire_rate_limited_total", "counter", "Requests, events and connections beyond a limit.", ("limit",)),
    ),
    *_of(
        ("rest",),
        Metric("tickwire_access_keys", "gauge", "Keys of access control, by state.", ("state",)),
    ),
    *_of(
        ("rest", "hub"),
        Metric("tickwire_access_table_age_seconds", "gauge", "Seconds since both tables of access control were read."),
    ),
)
METRICS: Mapping[str, Metric] = MappingProxyType({row.name: row for row in TABLE})
