"""The metrics of REST: its requests, the parts of health, and those of all processes."""
