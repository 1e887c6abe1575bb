"""Screenshots of the dashboard, from a fixed recording and with a fixed clock."""
