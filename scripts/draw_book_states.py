"""Draw the state machine of a book, docs/images/book-states.svg:

`.venv/bin/python -m scripts.draw_book_states`, from the repository's root.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jobs.books.parts.states import State

FILE = Path(__file__).parents[1] / "docs" / "images" / "book-states.svg"
WIDTH, HEIGHT = 980, 460
_BOX = 150, 58  # width and height

# state -> (left, top) of its box, and the books that clients receive
BOXES = {
    State.SYNCING: (50, 200, "no book"),
    State.LIVE: (400, 200, "snapshots, updates"),
    State.GAP: (800, 40, "last good book"),
    State.RESYNCING: (800, 200, "last good book"),
    State.STALE: (800, 370, "last good book"),
}


class Arrow(NamedTuple):
    """A transition: path, place and side of its text, and the lines of the text."""

    path: str
    x: int
    y: int
    anchor: str
    lines: tuple[str, ...]


ARROWS = (
    Arrow("M10 229H46", 28, 216, "middle", ("start",)),
    Arrow("M200 229H396", 298, 204, "middle", ("a snapshot joins", "the buffered diffs")),
    Arrow("M530 200 796 74", 650, 104, "end", ("missing_update · crossed · diverged", "overflow · bad_message")),
    Arrow("M845 98V196", 838, 142, "end", ("at once: a snapshot", "is requested")),
    Arrow("M800 218H554", 672, 210, "middle", ("a snapshot joins; thin: levels are back",)),
    Arrow("M550 240H796", 672, 257, "middle", ("thin · scenario",)),
    Arrow("M530 258 796 388", 690, 320, "start", ("silent · disconnected",)),
    Arrow("M800 412H475V262", 487, 400, "start", ("silent: the next diff continues the chain",)),
    Arrow("M875 370V262", 868, 318, "end", ()),
    Arrow("M440 200C430 150 500 150 490 196", 465, 152, "middle", ("refreshed: a new window",)),
    Arrow("M100 258C90 308 160 308 150 262", 125, 316, "middle", ("snapshot_failed · overflow", "a snapshot is requested again")),
    Arrow("M940 200C960 150 990 190 954 216", 968, 150, "end", ()),
)
# Texts beside an arrow that has no room at its side.
NOTES = (
    (885, 312, "start", "any other"),
    (885, 328, "start", "return"),
    (862, 136, "start", "snapshot_failed"),
    (862, 152, "start", "overflow"),
)

STYLE = """
    .page { fill: #ffffff } .box { fill: #f4f6fb; stroke: #334455 } .live { fill: #d3f9d8 } .arrow { stroke: #334455; fill: none }
    .end { fill: #334455 } text { fill: #111122 } .small { font-size: 12px }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117 } .box { fill: #1c2430; stroke: #9fb0c3 } .live { fill: #16401f } .arrow { stroke: #9fb0c3 }
      .end { fill: #9fb0c3 } text { fill: #e6edf3 }
    }
"""


def drawing() -> str:
    """Return the SVG; it follows the light or dark scheme of the reader."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="15" role="img"'
        ' aria-label="States of an order book: syncing, live, gap, resyncing and stale, with the reasons of each change">',
        f"  <style>{STYLE}  </style>",
        '  <defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path class="end" d="M0 0 8 4 0 8z"/></marker></defs>',
        f'  <rect class="page" width="{WIDTH}" height="{HEIGHT}"/>',
    ]
    parts += [f'  <path class="arrow" stroke-width="1.5" marker-end="url(#end)" d="{arrow.path}"/>' for arrow in ARROWS]
    for state, (left, top, served) in BOXES.items():
        kind = "box live" if state is State.LIVE else "box"
        middle = left + _BOX[0] // 2
        parts.append(f'  <rect class="{kind}" stroke-width="1.5" x="{left}" y="{top}" width="{_BOX[0]}" height="{_BOX[1]}" rx="8"/>')
        parts.append(f'  <text x="{middle}" y="{top + 25}" text-anchor="middle" font-weight="bold">{state}</text>')
        parts.append(_text(middle, top + 44, "middle", served))
    for arrow in ARROWS:
        parts += [_text(arrow.x, arrow.y + 16 * number, arrow.anchor, line) for number, line in enumerate(arrow.lines)]
    parts += [_text(*note) for note in NOTES]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: int, y: int, anchor: str, text: str) -> str:
    return f'  <text class="small" x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'


def main() -> None:
    """Write the file."""
    FILE.write_text(drawing())


if __name__ == "__main__":
    main()
