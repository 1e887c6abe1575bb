"""The values of FANOUT_LOOP, and the extension that one of them needs."""

from __future__ import annotations

AUTO, PYTHON, C = "auto", "python", "c"
FANOUT_LOOPS = (AUTO, PYTHON, C)
EXTENSION = "tickwire_sendmany"
MISSING = "FANOUT_LOOP is c, but the extension is not installed: install a C compiler and Python.h, then run make venv"
