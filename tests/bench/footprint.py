"""The memory of a large correlation in a separate process; prints JSON. Linux only."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from jobs.analytics.correlation import pearson
from tests.bench.series import returns_with_holes


def main(instruments: int, periods: int) -> None:
    """Correlate once; print the growth of the peak resident memory, which includes the result."""
    returns = returns_with_holes(instruments, periods, 0.05)
    pearson(returns[:16])  # the libraries allocate their own memory
    Path("/proc/self/clear_refs").write_text("5")  # reset the high-water mark
    before = _status("VmRSS")
    start = time.perf_counter()
    result = pearson(returns)
    seconds = time.perf_counter() - start
    held = (result.matrix.nbytes + result.counts.nbytes) / 1e6
    assert np.isfinite(result.matrix).all()
    print(
        json.dumps(
            {"seconds": seconds, "growth_mb": (_status("VmHWM") - before) / 1e6, "result_mb": held, "input_mb": returns.nbytes / 1e6}
        )
    )


def _status(name: str) -> float:
    """Return a value of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
