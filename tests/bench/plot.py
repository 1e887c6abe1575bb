"""The plot for the docs: a panel per figure, a bar per peer, a whisker for the spread."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

from tests.bench.figures import Results

_COLOURS = {
    "tickwire": "#0b7285", "tickwire_python": "#66a5ad", "node": "#74b816", "bun": "#e64980", "nchan": "#7048e8", "flask": "#f08c00",
    "floor": "#adb5bd", "floor_c": "#868e96", "join_c": "#495057",
}  # fmt: skip
_LABELS = {
    "tickwire": "Tickwire", "tickwire_python": "Tickwire,\nPython", "node": "Socket.IO", "bun": "Bun", "nchan": "nchan",
    "flask": "Flask-\nSocketIO", "floor": "floor,\nPython", "floor_c": "floor,\nC", "join_c": "C,\njoined",
}  # fmt: skip
_PANELS = (
    ("a", "cpu_us", "(a) 500 clients, one room:\nCPU µs per delivery"),
    ("b", "cpu_us", "(b) 300 clients × 20 rooms, one beat:\nCPU µs per delivery"),
    ("b2", "cpu_us", "(b2) 300 clients × 20 rooms, spread:\nCPU µs per delivery"),
    ("s", "deliveries_per_s", "(a) at saturation:\ndeliveries per second"),
    ("a", "p99_ms", "(a) p99 latency, ms"),
    ("b", "p99_ms", "(b) p99 latency, ms"),
    ("c", "p99_ms", "(c) 1,000 clients, 40 rooms:\np99 latency, ms"),
    ("d", "uss_kib", "(d) 2,000 idle clients:\nKiB of memory per client"),
    ("e", "stalled_kib", "(e) KiB per stalled client,\nkernel included"),
)


def draw(results: Results, file: Path) -> None:
    """Draw the panels of the measured figures."""
    mpl.use("Agg")
    panels = [panel for panel in _PANELS if panel[1] in results.figures(panel[0])]
    if not panels:
        return
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, grid = pyplot.subplots(rows, columns, figsize=(5.2 * columns, 3.1 * rows), squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _panel(axes, results, *panel)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_axis_off()
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _panel(axes: Axes, results: Results, shape: str, name: str, title: str) -> None:
    spreads = {peer: spread for peer in results.peers(shape) if (spread := results.spread(shape, name, peer))}
    heights = [spread.middle for spread in spreads.values()]
    whiskers = [[one.middle - one.low for one in spreads.values()], [one.high - one.middle for one in spreads.values()]]
    bars = axes.bar([_LABELS[peer] for peer in spreads], heights, yerr=whiskers, capsize=3, color=[_COLOURS[peer] for peer in spreads])
    axes.bar_label(bars, labels=[f"{height:,.0f}" if height >= 100 else f"{height:.3g}" for height in heights], fontsize=8, padding=2)
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.margins(y=0.18)
    axes.spines[["top", "right"]].set_visible(False)
