"""Programs of the documents, run like a reader runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import until
from tests.support.processes import ROOT, Running

NODE_MODULES = ROOT / "tests" / "js" / "node_modules"


class Program(Running):
    """A program in a folder of its own, and its printed lines.

    If `endless`, it runs until it is stopped.
    """

    def __init__(self, argv: list[str], folder: Path, *, endless: bool, **environ: str) -> None:
        super().__init__(argv, {**environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'clients' / 'python'}"}, folder / "errors")
        self.folder = folder
        self.lines: list[str] = []
        self.endless = endless

    def start(self) -> None:
        """Start the program, with standard output and standard error apart."""
        with self.log.open("wb") as errors:
            self.popen = subprocess.Popen(
                self.argv,
                cwd=self.folder,
                env={**os.environ, **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.popen is not None
        assert self.popen.stdout is not None
        with self.popen.stdout as lines:
            for line in lines:
                self.lines.append(line.decode().rstrip())

    def check(self) -> None:
        """Check that the program ends with 0 (or, if endless, prints lines) and writes no error."""
        assert self.popen is not None
        if self.endless:
            until(lambda: len(self.lines) >= 3 or self._code() is not None, 60, "three lines")
            assert self._code() is None, self.output()
        else:
            until(lambda: self._code() is not None, 60, "the end")
            assert self._code() == 0, self.output()
        assert self.output() == ""

    def _code(self) -> int | None:
        assert self.popen is not None
        return self.popen.poll()


@contextmanager
def javascript(text: str, folder: Path) -> Iterator[Program]:
    """Run a JavaScript program on Node with the real socket.io-client."""
    node = shutil.which("node")
    assert node is not None, "Node is needed; `make test` installs one"
    (folder / "node_modules").symlink_to(NODE_MODULES)
    (folder / "program.mjs").write_text(text)
    with Program(
        [node, str(folder / "program.mjs")], folder, endless=not re.search(r"\.disconnect\(\)|socket\.close\(\)", text)
    ) as program:
        yield program


@contextmanager
def python(text: str, folder: Path, **environ: str) -> Iterator[Program]:
    """Run a Python program in the environment of the tests, with these variables."""
    (folder / "program.py").write_text(text)
    with Program(
        [sys.executable, str(folder / "program.py")],
        folder,
        endless="hub.wait()" in text or "    while True:\n        event, *bodies = hub.receive()\n" in text,
        **environ,
    ) as program:
        yield program
