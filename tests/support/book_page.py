"""The two JSON examples of the page "Order books": an oracle that is not our code."""

from __future__ import annotations

# The eight fields of `GET /status`.
STATUS = """{
  "status": "healthy",
  "uptime_seconds": 12.30,
  "total_messages_processed": 0,
  "current_queue_size": 0,
  "memory_usage_mb": 0.0,
  "active_clients": 0,
  "current_scenario": "stable-mode",
  "last_heartbeat": "2025-07-15T16:36:11.663696Z"
}"""
# The whole body of `GET /scenarios`.
SCENARIOS = """{
  "available_scenarios": ["stable-mode", "burst-mode", "gradual-spike", "extreme-spike"],
  "current_scenario": "stable-mode",
  "scenario_files": {
    "stable-mode": "stable-mode-data.json",
    "burst-mode": "burst-mode-data.json",
    "gradual-spike": "gradual-spike-data.json",
    "extreme-spike": "extreme-spike-data.json"
  }
}"""
