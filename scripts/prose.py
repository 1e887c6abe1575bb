"""Count the words and sentence lengths of comments, docstrings and Markdown: a mirror for writers.

    .venv/bin/python scripts/prose.py [FOLDER or FILE ...]    # with paths: one row per file

Prints occurrences per 1,000 words, outside code blocks and back-ticked text. Always exits with 0.
Log messages and help texts are not counted.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import walk
from pathlib import Path, PurePosixPath

# column -> counted words; the comparable projects were measured without "ask", so it has no goal
COLUMNS = {
    "where": r"where",
    "if": r"if",
    "when": r"when",
    "tell": r"tells?|telling|told|hears?|heard|hearing|says?|said|saying",
    "ask": r"asks?|asked|asking|knows?|knew|known|knowing",
    "what": r"what",
    "who": r"who|whoever|whose|whom|whomever",
}
_CODE_GOALS = ("≤ 2.0", "≥ 6.0", "-", "≤ 0.5", "-", "≤ 1.0", "≤ 0.3")
GOALS = {"code": _CODE_GOALS, "tests": _CODE_GOALS, "docs": ("≤ 2.0", "≥ 3.5", *_CODE_GOALS[2:])}
MIN_WORDS, MAX_WHERE, MIN_IF = 300, 2.0, 4.0  # of a listed file; the last two per 1,000 words
SHORT_SENTENCE_WORDS, MAX_SENTENCE_WORDS, MAX_LINE_LENGTH = 25, 40, 100

_SLASHES = r"/\*(.*?)\*/|(?:^|(?<=\s))//(.*?)$"
_HASH = r"(?:^|(?<=\s))#(?!!)(.*?)$"
# file suffix, or name of a file without one -> pattern of its comments
COMMENTS = {
    **dict.fromkeys((".js", ".mjs", ".ts"), _SLASHES),
    **dict.fromkeys((".sql", ".lua"), r"--(?!\[\[)(.*?)$|--\[\[(.*?)\]\]"),
    **dict.fromkeys((".sh", ".yml", ".toml", ".conf", ".cfg", ".example", "Makefile", "Dockerfile"), _HASH),
}
IGNORED_FOLDERS = frozenset({"node_modules", "__pycache__", "build", "bench-results", "var"})
_DIRECTIVE = re.compile(r"(noqa|type: ignore|shellcheck|fmt:|pragma:)\S*.*")


@dataclass(frozen=True, slots=True)
class Page:
    """The prose of a file, without code. Only Markdown has sentences and long lines."""

    path: PurePosixPath  # relative to the root
    text: str
    sentences: tuple[tuple[int, int], ...] = ()  # (first line of the paragraph, words)
    long_lines: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        """The table that counts the file, a key of GOALS."""
        if self.path.suffix == ".md":
            return "docs"
        return "tests" if self.path.parts[0] == "tests" else "code"


def python_text(source: str) -> str:
    """Return the docstrings and comments of a module."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return "\n".join(text for text in texts if not text.startswith("#!"))


def comment_text(source: str, pattern: str) -> str:
    """Return the comments that match the pattern of the language."""
    found = re.finditer(pattern, source, re.MULTILINE | re.DOTALL)
    return "\n".join(text for match in found for text in match.groups() if text)


def markdown_page(path: PurePosixPath, source: str) -> Page:
    """Read a Markdown file; code blocks and HTML comments keep their line breaks only."""
    for pattern in (r"^ *(```+|~~~+).*?^ *\1 *$", r"<!--.*?-->"):
        source = re.sub(pattern, lambda match: "\n" * match[0].count("\n"), source, flags=re.MULTILINE | re.DOTALL)
    lines = source.splitlines()
    long_lines = [number for number, line in enumerate(lines, 1) if len(line) > MAX_LINE_LENGTH and not _is_table(line)]
    return Page(path, _plain(source), tuple(_sentences(lines)), tuple(long_lines))


def _is_table(line: str) -> bool:
    return line.lstrip(" >").startswith("|")


def _sentences(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield the sentences of paragraphs and list items; headings and tables have no sentences."""
    paragraphs: list[tuple[int, list[str]]] = [(1, [])]  # (first line, lines)
    for number, line in enumerate(lines, 1):
        stripped = line.lstrip(" >")
        if item := re.match(r"([-*+]|\d+\.) +", stripped):
            paragraphs.append((number, [stripped[item.end() :]]))
        elif not stripped or stripped.startswith("#") or _is_table(line):
            paragraphs.append((number + 1, []))
        else:
            paragraphs[-1][1].append(stripped)
    for first, paragraph in paragraphs:
        # A back-ticked text counts as one word of its sentence.
        text = _plain(" ".join(paragraph), code="X")
        for sentence in re.split(r"(?<=[.!?])[)*\"”]*\s+(?=[(*\"“]*[A-Z0-9])", text):
            if words := count_words(sentence):
                yield first, words


def _plain(text: str, code: str = "") -> str:
    """Replace back-ticked text; remove addresses."""
    text = re.sub(r"(`+)(?!`)(?:(?!\n\s*\n).)+?\1", code, text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)|https?://\S+", "", text)


def count_words(text: str) -> int:
    """Return the number of words and numbers."""
    return len(re.findall(r"\w+(?:['’.,-]\w+)*", text))


def rates(pages: Iterable[Page]) -> list[float]:
    """Return the occurrences per 1,000 words, in the order of COLUMNS."""
    text = "\n".join(page.text for page in pages)
    words = count_words(text) or 1
    return [1000 * len(re.findall(rf"\b(?:{pattern})\b", text, re.IGNORECASE)) / words for pattern in COLUMNS.values()]


def read_pages(root: Path) -> list[Page]:
    """Read every file with prose, in the order of their paths; hidden folders are left out."""
    paths = []
    for folder, subfolders, names in walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name not in IGNORED_FOLDERS]
        paths += [PurePosixPath(Path(folder, name).relative_to(root)) for name in names]
    kinds = {".md", ".py", *COMMENTS}
    pages = [read_page(root, path) for path in sorted(paths) if (path.suffix or path.name) in kinds]
    return [page for page in pages if count_words(page.text)]


def read_page(root: Path, path: PurePosixPath) -> Page:
    """Read one file by the rules of its language."""
    source = (root / path).read_text(encoding="utf-8")
    if path.suffix == ".md":
        return markdown_page(path, source)
    text = python_text(source) if path.suffix == ".py" else comment_text(source, COMMENTS[path.suffix or path.name])
    return Page(path, _plain(_DIRECTIVE.sub("", text)))


def table_lines(pages: list[Page], kind: str, each_file: bool) -> Iterator[str]:
    """Yield a row per folder (or per file), the total and the goals."""
    rows: defaultdict[str, list[Page]] = defaultdict(list)
    for page in pages:
        rows[str(page.path if each_file else page.path.parent)].append(page)
    yield f"{kind:<40}{'words':>8}" + "".join(f"{name:>8}" for name in COLUMNS)
    for name, members in [*sorted(rows.items()), (f"total {kind}", pages)]:
        words = sum(count_words(page.text) for page in members)
        yield f"{name:<40}{words:>8}" + "".join(f"{rate:>8.1f}" for rate in rates(members))
    yield f"{'goal':<48}" + "".join(f"{goal:>8}" for goal in GOALS[kind])


def listed_files(pages: Iterable[Page]) -> list[str]:
    """Return the longer files with many "where" and few "if"."""
    found = []
    for page in pages:
        where, if_, *_ = rates([page])
        if count_words(page.text) >= MIN_WORDS and where > MAX_WHERE and if_ < MIN_IF:
            found.append(f"{page.path}: where {where:.1f}, if {if_:.1f}")
    return found


def markdown_lines(pages: list[Page]) -> Iterator[str]:
    """Yield the long sentences and lines, then the share of short sentences."""
    for page in pages:
        yield from (f"{page.path}:{line}: sentence of {words} words" for line, words in page.sentences if words > MAX_SENTENCE_WORDS)
    for page in pages:
        if page.long_lines:
            yield f"{page.path}: lines over {MAX_LINE_LENGTH} characters: {', '.join(map(str, page.long_lines))}"
    lengths = [words for page in pages for _, words in page.sentences]
    if lengths:
        short = 100 * sum(words <= SHORT_SENTENCE_WORDS for words in lengths) / len(lengths)
        yield f"sentences of at most {SHORT_SENTENCE_WORDS} words: {short:.1f} % of {len(lengths)} (goal 95 %)"
    yield f"sentences over {MAX_SENTENCE_WORDS} words: {sum(words > MAX_SENTENCE_WORDS for words in lengths)} (goal 0)"
    yield f"lines over {MAX_LINE_LENGTH} characters: {sum(len(page.long_lines) for page in pages)} (goal 0)"


def main(root: Path, only: list[str]) -> None:
    """Print the report on the whole tree, or on the given folders and files."""
    pages = [page for page in read_pages(root) if not only or any(page.path.is_relative_to(path) for path in only)]
    for kind in GOALS:
        if members := [page for page in pages if page.kind == kind]:
            print(*table_lines(members, kind, each_file=bool(only)), "", sep="\n")
    print(*listed_files(pages), *markdown_lines(pages), sep="\n")


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[1], sys.argv[1:])
