"""The measured part of a document: the text between two marks."""

from __future__ import annotations

from pathlib import Path

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write(text: str, file: Path) -> None:
    """Replace the measured part of a document. Raises `ValueError` without the marks."""
    before, begin, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{file}: no {BEGIN} before {END}")
    file.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}")
