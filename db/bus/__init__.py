"""The message bus: Redis streams (durable log) plus pub/sub (live delivery).

Guarantees of a publish, per channel:

* One atomic step gives every message of the batch its `seq` and `epoch`, keeps the latest price of
  its instrument, appends it to a bounded stream and publishes it. The step is done for the whole
  batch or for none of it.
* `seq` rises by one per (channel, topic). The topic is the instrument, `A|B` for a correlation,
  `INSTRUMENT|INTERVAL` for a candle, `INSTRUMENT|DEPTH` for a book, the data type, or `events` for
  all observability events.
* A message of `book_updates` has two bodies, an update and a snapshot, with one `seq` and `epoch`.
* `epoch` stays the same as long as Redis keeps its data. A new one begins, before a number is
  given, if Redis has lost data or went back in time: the hash of the numbers is missing, its field
  `last|CHANNEL` is not the id of the stream's last entry, or a counter is below a number that the
  publisher got. If the channel has no stream, a counter is below the number of the latest message.
* Epoch and numbers are one hash. No number is given twice in one epoch.
* A quote or trade that the store would refuse is never accepted: the check comes before `seq`.
* A batch that is published again under the same `batch_id`, because its answer was lost, returns
  the first answer. This holds for a day, until the publisher sends another batch.
* A batch with the fence of a duty is refused with `BusFenced` if another process has published for
  the duty under a higher number.
* `publish_once` leaves out prices that it has published in the last 15 minutes; they get no `seq`.
* An accepted price stays in the stream until it is stored. If there is no room for another,
  publishing raises `BusFull` and accepts nothing. Beyond the unstored entries the stream keeps a
  tail, from which hubs catch up.

A consumer catches up in three steps:

1. Subscribe.
2. Read the stream backwards to the last message it has seen.
3. Continue with the channel and drop the messages it has already seen.

Foreign programs may `PUBLISH` on the channels directly. Subscribers receive those messages
unchanged and without `seq`. No stream contains them, so they are neither stored nor caught up on.

`redis.RedisError` never leaves this package: it becomes `BusError`.
"""

from __future__ import annotations

from db.book_bodies import BookMessage as BookMessage
from db.book_bodies import cut_book as cut_book
from db.bus.books import Books as Books
from db.bus.connection import Shared as Shared
from db.bus.errors import BusError as BusError
from db.bus.errors import BusFenced as BusFenced
from db.bus.errors import BusFull as BusFull
from db.bus.errors import BusLoginRefused as BusLoginRefused
from db.bus.errors import LayoutDiffers as LayoutDiffers
from db.bus.errors import ReportsFull as ReportsFull
from db.bus.fence import NO_FENCE as NO_FENCE
from db.bus.fence import Fence as Fence
from db.bus.layout.layout import Layout as Layout
from db.bus.layout.restored import BusFacts as BusFacts
from db.bus.layout.restored import RestoredBus as RestoredBus
from db.bus.layout.shard_polls import shard_of_entry as shard_of_entry
from db.bus.limits.leases import LeaseAnswer as LeaseAnswer
from db.bus.limits.leases import LeaseRequest as LeaseRequest
from db.bus.limits.leases import Leases as Leases
from db.bus.observability.log_stream import LogStream as LogStream
from db.bus.observability.reports import BatchOutcome as BatchOutcome
from db.bus.observability.reports import Outcome as Outcome
from db.bus.observability.reports import QueuedReport as QueuedReport
from db.bus.observability.reports import ReportLimits as ReportLimits
from db.bus.observability.reports import Reports as Reports
from db.bus.observability.snapshots import Snapshot as Snapshot
from db.bus.observability.snapshots import Snapshots as Snapshots
from db.bus.processes.board import Board as Board
from db.bus.processes.checks import BusNotWorking as BusNotWorking
from db.bus.processes.checks import Checks as Checks
from db.bus.processes.checks import RedisFacts as RedisFacts
from db.bus.processes.checks import RedisLoad as RedisLoad
from db.bus.processes.diagnosis import Diagnosis as Diagnosis
from db.bus.processes.diagnosis import Pending as Pending
from db.bus.processes.registry import ProcessEntry as ProcessEntry
from db.bus.processes.registry import Registry as Registry
from db.bus.publish import Publisher as Publisher
from db.bus.read import Reader as Reader
from db.bus.subscription import Subscription as Subscription
from db.bus.subscription import Subscriptions as Subscriptions
from db.bus.topology.setup import PLAIN as PLAIN
from db.bus.topology.setup import BusSetup as BusSetup
from db.bus.writer_queue import Parked as Parked
from db.bus.writer_queue import WriterQueue as WriterQueue


class Bus(Books, Reader, WriterQueue, Board, Registry, Leases, Checks, Diagnosis, Reports, Snapshots, LogStream, Layout):
    """The whole bus on one connection pool. A signature names the part that it needs."""
