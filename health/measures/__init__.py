"""Measurements of this process and its machine: resources, durations of stages."""
