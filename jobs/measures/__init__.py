"""Counts and durations of the jobs process: kept here, read by its report and its metrics."""
