"""Duties of the jobs processes: which of them this process holds, and their work here."""
