"""Daily report from the REST interface of Tickwire: DAY.csv, DAY.png with charts, and a summary.

    python daily_report.py    # yesterday, from REST on this machine
    python daily_report.py --day 2026-11-20 --symbols EUR_USD,BTCUSDT --interval 5m --out reports

Its only dependency is matplotlib. Days are UTC. The environment variable TICKWIRE_API_KEY has the
key, if REST needs one.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import matplotlib

matplotlib.use("Agg")  # writes files; needs no display
import matplotlib.dates as mdates
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

UP, DOWN, LINE = "#2a9d8f", "#e76f51", "#264653"
COLUMNS = ("symbol", "start_time", "end_time", "open", "high", "low", "close", "volume", "log_return", "realised_volatility")


@dataclass(frozen=True, slots=True)
class Series:
    """One day of a symbol. Candles have the fields of REST; the lists have one value per candle."""

    symbol: str
    candles: list[dict[str, Any]]
    returns: list[float]  # log returns from the previous close; the first from its open
    volatility: list[float]  # realised so far: root of the sum of squared returns

    @classmethod
    def of(cls, symbol: str, candles: list[dict[str, Any]]) -> Series:
        returns, volatility, before, squares = [], [], float(candles[0]["open"]), 0.0
        for candle in candles:
            close = float(candle["close"])
            returns.append(math.log(close / before))
            squares += returns[-1] ** 2
            volatility.append(math.sqrt(squares))
            before = close
        return cls(symbol, candles, returns, volatility)


@dataclass(frozen=True, slots=True)
class Matrix:
    """Correlations. Row and column i belong to `symbols[i]`; None means not available."""

    title: str
    symbols: list[str]
    rows: list[list[float | None]]


class Rest:
    """Client of the REST interface of Tickwire."""

    def __init__(self, url: str) -> None:
        self._url, key = url.rstrip("/"), os.environ.get("TICKWIRE_API_KEY")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def get(self, path: str, **query: Any) -> dict[str, Any] | None:
        """The answer, or None if there is no data yet. Exits with the error of a bad request."""
        request = urllib.request.Request(f"{self._url}{path}?{urlencode(query)}")  # noqa: S310 - the user's own URL
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)  # another server must not receive it
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - the user's own URL
                return dict(json.load(answer))
        except urllib.error.HTTPError as refusal:
            if refusal.headers.get_content_type() != "application/json":  # an error page of a proxy
                sys.exit(f"{path}: {refusal}")
            error = json.load(refusal)["error"]
            if error["code"] == "no_data":
                return None
            sys.exit(f"{path}: {error['message']} {error['details'] or ''}")
        except OSError as failure:  # refused, reset, timed out
            sys.exit(f"Tickwire does not answer at {self._url}: {getattr(failure, 'reason', failure)}")

    def candles(self, symbol: str, interval: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
        """All candles of a symbol that begin in [start, end), from all pages."""
        query: dict[str, Any] = {"symbol": symbol, "interval": interval, "start": start.isoformat(), "end": end.isoformat()}
        found: list[dict[str, Any]] = []
        while page := self.get("/candles", **query):
            found += page["candles"]
            if page["next_page_token"] is None:
                break
            query["page_token"] = page["next_page_token"]
        return found

    def correlation(self, symbols: list[str], end: datetime) -> Matrix | None:
        """The stored matrix of the 30 days before `end`, or None if that day has none."""
        found = self.get("/correlation", as_of=end.isoformat())
        if found is None or datetime.fromisoformat(found["as_of"]) <= end - timedelta(days=1):
            return None
        known = [symbol for symbol in symbols if symbol in found["symbols"]]
        indexes = [found["symbols"].index(symbol) for symbol in known]
        rows = [[found["matrix"][i][j] for j in indexes] for i in indexes]
        return Matrix(f"Correlation of hourly returns, 30 days to {found['as_of'][:10]}", known, rows)


def correlation_of_the_day(all_series: list[Series]) -> Matrix:
    """Pearson correlation of the returns of the day, over at least 3 common candles."""
    returns = {s.symbol: dict(zip((c["start_time"] for c in s.candles), s.returns, strict=True)) for s in all_series}
    rows = [[1.0 if one is other else _pearson(one, other) for other in returns.values()] for one in returns.values()]
    return Matrix("Correlation of the day's returns", list(returns), rows)


def _pearson(one: dict[str, float], other: dict[str, float]) -> float | None:
    common = sorted(set(one) & set(other))
    if len(common) < 3:
        return None
    xs, ys = [one[time] for time in common], [other[time] for time in common]
    mean_x, mean_y = math.fsum(xs) / len(xs), math.fsum(ys) / len(ys)
    product = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    scale = math.sqrt(math.fsum((x - mean_x) ** 2 for x in xs) * math.fsum((y - mean_y) ** 2 for y in ys))
    return product / scale if scale else None


def write_csv(path: Path, all_series: list[Series]) -> None:
    """One line per candle; prices keep all their digits."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for series in all_series:
            for candle, change, volatility in zip(series.candles, series.returns, series.volatility, strict=True):
                writer.writerow([series.symbol, *(candle[name] for name in COLUMNS[1:8]), f"{change:.8f}", f"{volatility:.8f}"])


def draw_candles(axes: Axes, series: Series, interval: timedelta) -> None:
    """Draw a line from low to high and a box from open to close for each candle."""
    opens, highs, lows, closes = ([float(candle[name]) for candle in series.candles] for name in ("open", "high", "low", "close"))
    middles = [mdates.date2num(datetime.fromisoformat(c["start_time"]) + interval / 2) for c in series.candles]  # type: ignore[no-untyped-call]
    colours = [UP if last >= first else DOWN for first, last in zip(opens, closes, strict=True)]
    heights = [last - first for first, last in zip(opens, closes, strict=True)]
    axes.vlines(middles, lows, highs, colors=colours, linewidth=0.8)
    axes.bar(middles, heights, interval / timedelta(days=1) * 0.7, bottom=opens, color=colours, edgecolor=colours, linewidth=0.8)
    room = 0.05 * (max(highs) - min(lows)) or 0.001 * max(highs)
    axes.set_ylim(min(lows) - room, max(highs) + room)
    first, last = series.candles[0]["open"], series.candles[-1]["close"]
    axes.set_title(f"{series.symbol}   {first} → {last}   {float(last) / float(first) - 1:+.2%}", loc="left", fontsize=10)
    _time_axis(axes, [series])


def draw_volatility(axes: Axes, all_series: list[Series], interval: timedelta) -> None:
    """Draw the volatility realised up to the end of each candle."""
    for series in all_series:
        ends = [mdates.date2num(datetime.fromisoformat(c["start_time"]) + interval) for c in series.candles]  # type: ignore[no-untyped-call]
        axes.plot(ends, [100 * value for value in series.volatility], label=series.symbol, linewidth=1.5)
    axes.set_title("Realised volatility so far, %", loc="left", fontsize=10)
    axes.legend(fontsize=8, frameon=False)
    _time_axis(axes, all_series)


def draw_correlation(axes: Axes, matrix: Matrix) -> None:
    """Draw a heat map with numbers. A dash means not available."""
    axes.imshow([[math.nan if value is None else value for value in row] for row in matrix.rows], cmap="RdBu", vmin=-1, vmax=1)
    for i, row in enumerate(matrix.rows):
        for j, value in enumerate(row):
            text, colour = ("–", LINE) if value is None else (f"{round(value, 2) or 0.0:.2f}", "white" if abs(value) > 0.6 else LINE)
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(matrix.symbols)), matrix.symbols, rotation=30, ha="right", fontsize=8)
    axes.set_yticks(range(len(matrix.symbols)), matrix.symbols, fontsize=8)
    axes.set_title(matrix.title, loc="left", fontsize=10)


def _time_axis(axes: Axes, all_series: list[Series]) -> None:
    """Set the axis to the full hours that contain the candles."""
    candles = [candle for series in all_series for candle in (series.candles[0], series.candles[-1])]
    first = min(datetime.fromisoformat(candle["start_time"]) for candle in candles)
    last = max(datetime.fromisoformat(candle["end_time"]) for candle in candles)
    hour = timedelta(hours=1)
    axes.set_xlim(first.replace(minute=0), (last - timedelta(microseconds=1)).replace(minute=0, second=0, microsecond=0) + hour)  # type: ignore[arg-type]
    axes.xaxis.set_major_locator(mdates.AutoDateLocator(tz=UTC))  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(mdates.DateFormatter("%H:%M", tz=UTC))  # type: ignore[no-untyped-call]
    axes.grid(color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def write_png(path: Path, all_series: list[Series], matrix: Matrix, day: date, interval: str) -> None:
    """Draw candles on the left, volatility and correlation on the right."""
    count, length = len(all_series), timedelta(minutes=INTERVALS[interval])
    figure = plt.figure(figsize=(13, max(6.0, 2.4 * count)), layout="constrained")
    grid = figure.add_gridspec(2 * count, 2, width_ratios=(3, 2))
    for row, series in enumerate(all_series):
        draw_candles(figure.add_subplot(grid[2 * row : 2 * row + 2, 0]), series, length)
    draw_volatility(figure.add_subplot(grid[:count, 1]), all_series, length)
    draw_correlation(figure.add_subplot(grid[count:, 1]), matrix)
    figure.suptitle(f"{day}, UTC, candles of {interval}", fontsize=12, x=0.01, ha="left")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def summary(all_series: list[Series]) -> str:
    """A table for the terminal."""
    lines = [f"{'symbol':10} {'open':>14} {'high':>14} {'low':>14} {'close':>14} {'change':>8} {'volatility':>10} {'candles':>7}"]
    for series in all_series:
        high = max((c["high"] for c in series.candles), key=float)
        low = min((c["low"] for c in series.candles), key=float)
        first, last = series.candles[0]["open"], series.candles[-1]["close"]
        change = float(last) / float(first) - 1
        numbers = f"{change:>+8.2%} {series.volatility[-1]:>10.2%} {len(series.candles):>7}"
        lines.append(f"{series.symbol:10} {first:>14} {high:>14} {low:>14} {last:>14} {numbers}")
    return "\n".join(lines)


INTERVALS = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240}  # in minutes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], epilog="Days are UTC.")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    parser.add_argument("--rest", default="http://127.0.0.1:5000", help="address of REST (default: %(default)s)")
    parser.add_argument("--day", type=date.fromisoformat, default=yesterday, help="day to report (default: yesterday)")
    parser.add_argument("--symbols", default="EUR_USD,GBP_USD,USD_JPY,BTCUSDT", help="up to eight, comma-separated (default: %(default)s)")
    parser.add_argument("--interval", choices=INTERVALS, default="1h", help="interval of the candles (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path(), help="output folder, created if missing (default: current folder)")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    start = datetime.combine(options.day, datetime.min.time(), UTC)
    end, rest, symbols = start + timedelta(days=1), Rest(options.rest), list(dict.fromkeys(options.symbols.split(",")))[:8]
    found = {symbol: rest.candles(symbol, options.interval, start, end) for symbol in symbols}
    if missing := [symbol for symbol in symbols if not found[symbol]]:
        print(f"no {options.interval} candles on {options.day} of {', '.join(missing)}", file=sys.stderr)
    all_series = [Series.of(symbol, candles) for symbol, candles in found.items() if candles]
    if not all_series:
        sys.exit(1)
    matrix = rest.correlation([series.symbol for series in all_series], end) or correlation_of_the_day(all_series)
    options.out.mkdir(parents=True, exist_ok=True)
    table, picture = options.out / f"{options.day}.csv", options.out / f"{options.day}.png"
    write_csv(table, all_series)
    write_png(picture, all_series, matrix, options.day, options.interval)
    print(f"{summary(all_series)}\n{matrix.title}\nwrote {table} and {picture}")


if __name__ == "__main__":
    main()
