"""Draw the plots of docs/analytics.md from real candles:

`.venv/bin/python -m scripts.plot_analytics`, from the repository's root.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from jobs.analytics.correlation import METHODS
from jobs.analytics.matrices import shrunk_correlation
from jobs.analytics.periods import periods_per_year
from jobs.analytics.returns import Floats, log_returns
from jobs.analytics.volatility import Volatility, annualised, estimate
from tests.support.recordings import Hours, load

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PAIR, SECOND = "EUR_USD", "GBP_USD"
WINDOW = {"ewma": 120}  # long enough for the weights of λ = 0.94; 24 for the others
OURS, OTHER, THIRD, PALE = "#0b7285", "#f08c00", "#74b816", "#adb5bd"


def main() -> None:
    """Write the images."""
    mpl.use("Agg")
    pyplot.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    hours = load()
    draw_estimators(hours)
    draw_weekends(hours)
    draw_correlation(hours)
    draw_shrinkage(hours)


def draw_estimators(hours: Hours) -> None:
    """Each estimator over three months, with close-to-close behind it."""
    some = hours.part(slice(2200, 3700))
    rolled = {**_estimates(some, 24), "ewma": _estimates(some, WINDOW["ewma"])["ewma"]}
    row = some.symbols.index(PAIR)
    figure, grid = pyplot.subplots(3, 2, figsize=(11, 7), sharex=True, sharey=True)
    for axes, (name, result) in zip(grid.flat, rolled.items(), strict=True):
        if name != "close_to_close":
            axes.plot(_dates(some), _percent(rolled["close_to_close"].volatility[row]), color=PALE, linewidth=0.8, label="close_to_close")
        axes.plot(_dates(some), _percent(result.volatility[row]), color=OURS, linewidth=1, label=name)
        axes.legend(loc="upper left", frameon=False)
    grid[1, 0].set_ylabel(f"volatility of {PAIR}, % a year")
    figure.autofmt_xdate()
    _save(figure, "analytics-estimators")


def draw_weekends(hours: Hours) -> None:
    """Effect of the step over a weekend on an hourly volatility."""
    some = hours.part(slice(3000, 3500))
    row = some.symbols.index("USD_JPY")
    figure, axes = pyplot.subplots(figsize=(11, 2.8))
    pauses = np.diff([start.timestamp() for start in some.starts], prepend=some.starts[0].timestamp()) > 3600
    for breaks, colour, label in ((None, OURS, "the step into Sunday counts as one hour"), (pauses, OTHER, "left out: breaks=…")):
        values = estimate(some.prices, 24, breaks=breaks)["close_to_close"].volatility[row]
        axes.plot(_dates(some), _percent(values), color=colour, linewidth=1, label=label)
    axes.set_ylabel("volatility of USD_JPY, % a year")
    axes.legend(frameon=False)
    _save(figure, "analytics-weekends")


def draw_correlation(hours: Hours) -> None:
    """The matrix of the last 30 days, and one pair from day to day by each method."""
    returns = log_returns(hours.closes)
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1, 1.4))
    _heat_map(left, METHODS["pearson"](returns[:, -500:]).matrix, hours.symbols)
    one, two = hours.symbols.index(PAIR), hours.symbols.index(SECOND)
    ends = range(500, len(hours.starts) + 1, 24)
    for (name, method), colour in zip(METHODS.items(), (OURS, OTHER, PALE), strict=True):
        values = [method(returns[[one, two], end - 500 : end]).matrix[0, 1] for end in ends]
        right.plot(
            [hours.starts[end - 1] for end in ends], values, color=colour, label=name, linewidth=1.2, zorder=1 if name == "ewma" else 2
        )
    right.set_ylabel(f"correlation of {PAIR} and {SECOND}")
    right.legend(frameon=False)
    figure.autofmt_xdate()
    left.tick_params(axis="x", labelbottom=True)
    _save(figure, "analytics-correlation")


def draw_shrinkage(hours: Hours) -> None:
    """Eigenvalues of the correlation of few hours, as observed and shrunk."""
    returns = log_returns(hours.closes)[:, -36:]
    figure, axes = pyplot.subplots(figsize=(5.5, 2.8))
    shrunk = shrunk_correlation(returns)
    for matrix, colour, label in (
        (METHODS["pearson"](returns).matrix, OTHER, "as observed"),
        (shrunk.matrix, OURS, f"shrunk by {shrunk.shrinkage:.2f}"),
    ):
        axes.semilogy(
            range(1, len(matrix) + 1), np.linalg.eigvalsh(matrix)[::-1], "o-", color=colour, label=label, markersize=3, linewidth=1
        )
    axes.set_xlabel(f"eigenvalues, ten pairs over {timedelta(hours=36).total_seconds() / 3600:.0f} hours")
    axes.legend(frameon=False)
    _save(figure, "analytics-shrinkage")


def _estimates(hours: Hours, window: int) -> dict[str, Volatility]:
    return estimate(hours.prices, window)


def _dates(hours: Hours) -> NDArray[np.datetime64]:
    return np.array([start.replace(tzinfo=None) for start in hours.starts], "datetime64[s]")


def _percent(hourly: Floats) -> Floats:
    return 100 * annualised(hourly, periods_per_year("fx", "1h"))


def _heat_map(axes: Axes, matrix: Floats, symbols: tuple[str, ...]) -> None:
    axes.imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(symbols)), symbols, rotation=90)
    axes.set_yticks(range(len(symbols)), symbols)
    axes.spines[["left", "bottom"]].set_visible(False)
    for row, column in np.ndindex(matrix.shape):
        strong = abs(matrix[row, column]) > 0.6
        axes.text(column, row, f"{matrix[row, column]:.1f}", ha="center", va="center", fontsize=6, color="white" if strong else "black")


def _save(figure: Figure, name: str) -> None:
    figure.tight_layout()
    figure.savefig(IMAGES / f"{name}.png", dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
