"""The example bot of clients/examples as a user runs it, beside a running system."""

from __future__ import annotations

import json
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.conftest import until
from tests.examples.system import System
from tests.support.processes import ROOT, Running

PAIRS = ("EUR_USD", "GBP_USD", "AUD_USD", "NZD_USD")  # all with profits in USD
NAME = "demo"


class Bot(Running):
    """`mean_reversion_bot.py --bot demo`, which trades every few prices."""

    def __init__(self, system: System, folder: Path) -> None:
        self.state = folder / "bot.json"
        argv = [sys.executable, str(ROOT / "clients/examples/mean_reversion_bot.py"), *PAIRS, "--hub", system.hub, "--rest", system.rest]
        argv += ["--state", str(self.state), "--bot", NAME, "--window", "5", "--entry", "0.8", "--exit", "0.4", "--stop", "1000000"]
        super().__init__(argv, {"PYTHONPATH": str(ROOT / "clients/python")}, folder / "bot.log")

    @property
    def saved(self) -> dict[str, Any]:
        """The content of the state file."""
        return dict(json.loads(self.state.read_text())) if self.state.exists() else {}

    @property
    def trades(self) -> int:
        """The number of trades in the state file."""
        return int(self.saved.get("reports", {}).get("count", 0))

    @property
    def earned(self) -> Decimal:
        """The profit of all pairs, as the bot computes it."""
        return sum((Decimal(self.saved[pair]["earned"]) for pair in PAIRS), Decimal(0))

    def await_trades(self, count: int) -> None:
        until(lambda: self.trades >= count, 60, lambda: f"{count} trades: {self.output()[-2000:]}")

    def end(self) -> None:
        """Kill the bot at a moment at which all of its reports have an ack."""
        while True:
            until(lambda: self.saved["reports"]["waiting"] == [], 60, lambda: f"all acks: {self.output()[-2000:]}")
            self.kill()
            if not self.saved["reports"]["waiting"]:
                return
            self.start()
