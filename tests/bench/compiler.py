"""C sources of the benchmark, compiled when they are needed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_COMPILE_SECONDS = 60.0


class NoCompiler(Exception):
    """No program can be made of a source; the text is the reason."""


@cache
def compiled(source: str, *, shared: bool = False) -> Path:
    """Return the program, or the shared library, of a source in tests/bench. Raises `NoCompiler`.

    It exists until this process ends.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if not compiler or shutil.which(compiler[0]) is None:
        raise NoCompiler(f"no C compiler: {' '.join(compiler) or 'CC is empty'}")
    file = Path(_built().name) / Path(source).with_suffix(".so" if shared else "").name
    flags = ["-shared", "-fPIC"] if shared else []
    argv = [*compiler, "-O2", *flags, "-o", str(file), str(_FOLDER / source)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
    if done.returncode:
        raise NoCompiler(f"{compiler[0]} failed for {source}: {done.stderr.strip()[-300:]}")
    return file


@cache
def _built() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="tickwire-bench-built-")
