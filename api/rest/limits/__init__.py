"""Limits of requests: budgets of callers, headers of answers, and the costs that views add."""
