"""Hides packages from our processes that only the environment of developers has.

Python imports this module at its start, because the tests put its folder on PYTHONPATH. Some
libraries import such a package if they find it. An operator's processes start without them.
"""

import sys

_PROGRAMS = ("gunicorn", "jobs.", "manage.py")
_PACKAGES = ("aiohttp", "opentelemetry", "yaml")

if any(program in word for word in sys.orig_argv[1:4] for program in _PROGRAMS):
    for package in _PACKAGES:
        sys.modules[package] = None  # type: ignore[assignment]
