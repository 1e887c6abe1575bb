"""Alerts about the system, strategies and executions: rules, state machine, storage."""
