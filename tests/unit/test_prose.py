"""scripts/prose.py on small texts, counted by hand."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from scripts import prose

MODULE = '''#!/usr/bin/env python
"""Read what is left, if the file exists."""

NAME = "where"  # where it is `if`


class Reader:
    """A reader."""

    def read(self) -> str:
        """Return the text."""
        return """where"""  # noqa: S101 where
'''


def page(text: str, path: str = "docs/page.md") -> prose.Page:
    return prose.markdown_page(PurePosixPath(path), text)


def words(count: int) -> str:
    return " ".join(["word"] * count)


def test_python_docstrings_and_comments_are_counted_alone(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "reader.py").write_text(MODULE)
    read = prose.read_page(tmp_path, PurePosixPath("db/reader.py"))
    assert read.kind == "code"
    # 8 words, "where it is", "A reader", "Return the text"
    assert prose.count_words(read.text) == 8 + 3 + 2 + 3
    rates = dict(zip(prose.COLUMNS, prose.rates([read]), strict=True))
    assert rates == {"where": 62.5, "if": 62.5, "when": 0.0, "tell": 0.0, "ask": 0.0, "what": 62.5, "who": 0.0}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.js", "const url = 'http://x.y'; // if one\n/* two\n   three */\n"),
        ("a.d.ts", "/** if one */\nlet a: number;\n  // two three\n"),
        ("a.sql", "SELECT 'where'; -- if one\n-- two three\n"),
        ("a.lua", "--[[ if one\ntwo ]] local a = 1 -- three\n"),
        ("a.sh", "#!/bin/sh\n# if one\necho ${#name}  # two three\n"),
        ("Makefile", "help:  # if one\n\techo where\n# two three\n"),
    ],
)
def test_comments_of_other_languages_are_counted_alone(tmp_path: Path, name: str, source: str) -> None:
    (tmp_path / name).write_text(source)
    (read,) = prose.read_pages(tmp_path)
    assert read.text.replace("*", "").split() == ["if", "one", "two", "three"]


def test_markdown_counts_text_outside_code() -> None:
    read = page("# Where\n\nIf `where` is told, see [what](https://where.example/if).\n\n```sh\nwhere if\n```\n\n| whose | table |\n")
    assert read.kind == "docs"
    # Where, If is told see what, whose table
    assert prose.count_words(read.text) == 8
    assert prose.rates([read]) == [125.0, 125.0, 0.0, 125.0, 0.0, 125.0, 125.0]


def test_all_forms_are_counted_and_longer_words_are_not() -> None:
    read = page("Whoever asked heard: says who, knowing whom. Whereas somewhere, unknown: iffy, whatever, hearsay.")
    assert prose.count_words(read.text) == 13
    assert prose.rates([read]) == pytest.approx([0, 0, 0, 2000 / 13, 2000 / 13, 0, 3000 / 13])


def test_sentences_of_paragraphs_and_list_items() -> None:
    text = "# A title\n\nOne two. `three` four\nfive! Six 7.5 eight\n\n- nine ten\n2. eleven. Twelve\n\n| no. | Sentence. |\n"
    assert page(text).sentences == ((3, 2), (3, 3), (3, 3), (6, 2), (7, 1), (7, 1))


def test_report_lists_long_sentences_and_share_of_short_ones() -> None:
    read = page(f"{words(25)}. A {words(25)}.\n\nB {words(39)}. C {words(40)}.\n")
    assert [count for _, count in read.sentences] == [25, 26, 40, 41]
    assert list(prose.markdown_lines([read])) == [
        "docs/page.md:3: sentence of 41 words",
        "docs/page.md: lines over 100 characters: 1, 3",
        "sentences of at most 25 words: 25.0 % of 4 (goal 95 %)",
        "sentences over 40 words: 1 (goal 0)",
        "lines over 100 characters: 2 (goal 0)",
    ]


def test_long_lines_of_tables_and_code_are_not_listed() -> None:
    long = "x" * 101
    assert page(f"{long[1:]}\n{long}\n\n| {long} |\n\n```\n{long}\n```\n\n<!-- {long}\n-->\n{long}\n").long_lines == (2, 12)


def test_longer_file_with_many_where_and_few_if_is_listed() -> None:
    def listed(where: int, if_: int, total: int) -> list[str]:
        return prose.listed_files([page(" ".join(["where"] * where + ["if"] * if_ + ["word"] * (total - where - if_)))])

    assert listed(2, 1, 500) == ["docs/page.md: where 4.0, if 2.0"]
    assert listed(1, 0, 500) == []  # 2.0 is not above 2
    assert listed(2, 2, 500) == []  # 4.0 is not below 4
    assert listed(2, 0, 299) == []
    assert listed(2, 0, 300) == ["docs/page.md: where 6.7, if 0.0"]


def test_main_prints_folders_totals_and_goals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"db/a.py": '"""If a b c."""', "tests/b.py": "# where d", "README.md": "When e.", "node_modules/c.js": "// if", ".x/d.md": "If"}
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    prose.main(tmp_path, [])
    header = f"words {' '.join(prose.COLUMNS)}"
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()] == [
        f"code {header}",
        "db 4 0.0 250.0 0.0 0.0 0.0 0.0 0.0",
        "total code 4 0.0 250.0 0.0 0.0 0.0 0.0 0.0",
        "goal ≤ 2.0 ≥ 6.0 - ≤ 0.5 - ≤ 1.0 ≤ 0.3",
        "",
        f"tests {header}",
        "tests 2 500.0 0.0 0.0 0.0 0.0 0.0 0.0",
        "total tests 2 500.0 0.0 0.0 0.0 0.0 0.0 0.0",
        "goal ≤ 2.0 ≥ 6.0 - ≤ 0.5 - ≤ 1.0 ≤ 0.3",
        "",
        f"docs {header}",
        ". 2 0.0 0.0 500.0 0.0 0.0 0.0 0.0",
        "total docs 2 0.0 0.0 500.0 0.0 0.0 0.0 0.0",
        "goal ≤ 2.0 ≥ 3.5 - ≤ 0.5 - ≤ 1.0 ≤ 0.3",
        "",
        "sentences of at most 25 words: 100.0 % of 1 (goal 95 %)",
        "sentences over 40 words: 0 (goal 0)",
        "lines over 100 characters: 0 (goal 0)",
    ]
    prose.main(tmp_path, ["db"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line][:3] == ["code", "db/a.py", "total"]
