"""The cost of scale: hubs, Redis nodes and clients on hosts of their own. Linux and root only.

`python -m tests.scale [--parts spread,relay] [--rounds 1] [--quick]`
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from tests.bench.bars import Measured, verdicts
from tests.bench.report import machine
from tests.bench.servers import ROOT
from tests.scale import hubs, nodes
from tests.scale.ground import Ground, ground
from tests.support.namespaces import unavailable


@dataclass(frozen=True, slots=True)
class Part:
    """A group of measurements. `run(place, quick)` yields the values of one round."""

    title: str
    run: Callable[[Ground, bool], Iterable[Measured]]


PARTS = {
    "spread": Part("20,000 deliveries/s to 2,000 clients over N hubs", hubs.spread),
    "relay": Part("A message in a hub without readers", hubs.relay),
    "send": Part("A send to one client", hubs.send),
    "publish": Part("Publishing over shards of one node", nodes.publish),
    "cost": Part("Redis", nodes.cost),
    "wait": Part("WAIT for one replica", nodes.wait),
}


@click.command()
@click.option("--parts", default=",".join(PARTS), show_default=True, help="Parts to measure.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds; each round measures everything once.")
@click.option("--quick", is_flag=True, help="One short round.")
@click.option("--before", type=click.Path(path_type=Path, exists=True), help="Another checkout, to compare the rate of a publisher.")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "bench-results", help="Folder for the results.")
def main(parts: str, rounds: int, quick: bool, before: Path | None, out: Path) -> None:
    """Measure hubs and Redis on hosts of their own, and print a table per part."""
    chosen = [key.strip() for key in parts.split(",") if key.strip()]
    if unknown := [key for key in chosen if key not in PARTS]:
        raise click.BadParameter(f"{', '.join(unknown)}: use one or more of {', '.join(PARTS)}")
    if reason := unavailable():
        click.echo(f"skipped: {reason}")
        return
    os.chdir(ROOT)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found: dict[str, list[Measured]] = {key: [] for key in chosen}
    with ground(before.resolve() if before else None) as place:
        for number in range(1 if quick else rounds):
            for key in chosen:
                for value in PARTS[key].run(place, quick):
                    print(f"[{key}, round {number + 1}] {value.case}, {value.label}: {value.value:.4g}", file=sys.stderr, flush=True)
                    found[key].append(value)
    text = _text(found)
    out.mkdir(parents=True, exist_ok=True)
    (out / "scale.md").write_text(text)
    click.echo(text)


def _text(found: dict[str, list[Measured]]) -> str:
    facts = "\n".join(f"- {name}: {value}" for name, value in machine().items())
    return "\n\n".join([facts, *(f"### {PARTS[key].title}\n\n{verdicts(values)}" for key, values in found.items())]) + "\n"


if __name__ == "__main__":
    main()
