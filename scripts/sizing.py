"""Compute the hubs, memory, network and Redis of a deployment from its load.

    .venv/bin/python scripts/sizing.py --clients 9000 --prices-per-s 5 --sends-per-s 1 --bus-per-s 5

The formulas and the measured inputs are those of the section "Sizing" of docs/deployment.md. The
result is arithmetic: measure the inputs on your machines with `make bench` and `make scale`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

# µs of a hub's CPU per send() to one client
SEND_US = {"joined": 9.4, "lone": 5.5, "sparse": 22.0}
RELAY_US, LAZY_RELAY_US = 7.1, 0.9  # per bus message and hub
CONNECT_US, RETURN_US = 232.0, 630.0  # alone; with `since` and 50 missed prices
CLIENT_BYTES, SOCKET_BYTES = 4.9 * 1024, 5_500  # of an idle client, in the process and in the kernel
STALLED_KERNEL_BYTES = 43 * 1024
FRAME_BYTES, SEGMENT_BYTES = 215, 66  # of a price; headers of TCP, IP and Ethernet
BUS_BYTES = 241  # of a message from Redis to a hub
CPU_SHARE, CARD_SHARE = 0.6, 0.7  # of a hub's CPU, of a network card
PORTS = 28_232  # of one proxy address towards one hub


@dataclass(frozen=True, slots=True)
class Load:
    """The planned load; rates are per second."""

    clients: int
    prices: float  # received by each client
    sends: float  # to each client: prices on one beat arrive in one
    bus: float  # messages from Redis to every hub
    send_us: float = SEND_US["joined"]
    relay_us: float = RELAY_US
    stalled: float = 0.0  # share of the clients
    outbox_bytes: int = 262_144  # OUTBOX_LIMIT_BYTES
    card_gbit: float = 10.0


@dataclass(frozen=True, slots=True)
class Sizing:
    """The needs of a load: sums over all hubs unless the name says otherwise."""

    cores: float
    hubs: int
    clients_per_hub: float
    memory_bytes: float
    network_bytes_per_s: float
    network_cards: int
    relay_share: float  # of the CPU of a hub at 60 % load
    efficiency: float  # share of the hubs' work that is sending
    redis_bytes_per_s: float
    redis_nodes: int  # by network alone: masters and replicas that hubs subscribe to
    storm_core_seconds: float
    storm_seconds: float
    returning_core_seconds: float
    returning_seconds: float
    descriptors_per_hub: int  # LimitNOFILE
    ports_per_hub: int  # proxy addresses


def sizing(load: Load) -> Sizing:
    """Return the needs of a load. Raises `ValueError` if it has no clients or no sends."""
    if load.clients <= 0 or load.sends <= 0:
        raise ValueError("clients and sends must be above 0")
    cores = load.clients * load.sends * load.send_us * 1e-6
    hubs = math.ceil(cores / CPU_SHARE)
    card = load.card_gbit * 1e9 / 8 * CARD_SHARE
    stalled = load.stalled * (STALLED_KERNEL_BYTES + load.outbox_bytes)
    network = load.clients * (load.prices * FRAME_BYTES + load.sends * SEGMENT_BYTES)
    relayed = hubs * load.bus * load.relay_us * 1e-6
    redis = load.bus * BUS_BYTES * hubs
    per_hub = load.clients / hubs
    storm, returning = load.clients * CONNECT_US * 1e-6, load.clients * RETURN_US * 1e-6
    return Sizing(
        cores=cores,
        hubs=hubs,
        clients_per_hub=per_hub,
        memory_bytes=load.clients * (CLIENT_BYTES + SOCKET_BYTES + stalled),
        network_bytes_per_s=network,
        network_cards=math.ceil(network / card),
        relay_share=load.bus * load.relay_us * 1e-6 / CPU_SHARE,
        efficiency=cores / (cores + relayed),
        redis_bytes_per_s=redis,
        redis_nodes=math.ceil(redis / card),
        storm_core_seconds=storm,
        storm_seconds=storm / (hubs * CPU_SHARE),
        returning_core_seconds=returning,
        returning_seconds=returning / (hubs * CPU_SHARE),
        descriptors_per_hub=math.ceil(2 * per_hub) + 200,
        ports_per_hub=math.ceil(per_hub / PORTS),
    )


def table(found: Sizing) -> str:
    """Return the needs as a Markdown table."""
    rows = {
        "CPU": f"{found.cores:,.0f} cores: {found.hubs:,} hubs at {CPU_SHARE:.0%}, {found.clients_per_hub:,.0f} clients each",
        "`LimitNOFILE` of a hub": f"at least {found.descriptors_per_hub:,}",
        "addresses of proxies towards a hub": f"{found.ports_per_hub}",
        "memory": f"{found.memory_bytes / 1e9:,.1f} GB in all, {found.memory_bytes / found.hubs / 1e9:.2f} GB a hub",
        "network to clients": f"{found.network_bytes_per_s / 1e9:,.2f} GB/s, {found.network_cards:,} cards at {CARD_SHARE:.0%}",
        "relaying": f"{found.relay_share:.1%} of a hub at {CPU_SHARE:.0%} load; efficiency {found.efficiency:.1%}",
        "Redis": f"{found.redis_bytes_per_s / 1e6:,.0f} MB/s to the hubs, {found.redis_nodes:,} nodes by network",
        "storm": f"{found.storm_core_seconds:,.0f} core-seconds, {found.storm_seconds:,.0f} s on the hubs",
        "storm with `since`": f"{found.returning_core_seconds:,.0f} core-seconds, {found.returning_seconds:,.0f} s on the hubs",
    }
    return "\n".join(["| need | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--prices-per-s", dest="prices", type=float, required=True, help="prices that each client receives per second")
    parser.add_argument(
        "--sends-per-s", dest="sends", type=float, required=True, help="sends to each client per second; prices on one beat are one"
    )
    parser.add_argument("--bus-per-s", dest="bus", type=float, required=True, help="messages from Redis to every hub per second")
    parser.add_argument(
        "--send-us",
        type=float,
        default=SEND_US["joined"],
        help="µs of CPU per send: " + ", ".join(f"{key} {value:g}" for key, value in SEND_US.items()),
    )
    parser.add_argument(
        "--relay-us", type=float, default=RELAY_US, help=f"µs of CPU per bus message and hub; {LAZY_RELAY_US:g} without a reader"
    )
    parser.add_argument("--stalled", type=float, default=0.0, help="share of clients that do not read")
    parser.add_argument("--outbox-bytes", type=int, default=262_144, help="OUTBOX_LIMIT_BYTES")
    parser.add_argument("--card-gbit", type=float, default=10.0, help="network card of a machine in Gbit/s")
    given = vars(parser.parse_args(arguments))
    try:
        print(table(sizing(Load(**{field.name: given[field.name] for field in fields(Load)}))))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
