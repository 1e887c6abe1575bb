"""Health check for a container of the books: `python -m jobs.books.process.health`.

Exits with 0 if a process of this host has reported and its checks pass, else with 1.
"""

from __future__ import annotations

from jobs.runtime.container_check import check

if __name__ == "__main__":
    check("books")
