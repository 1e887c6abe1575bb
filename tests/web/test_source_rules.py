"""Rules of the page's own modules, checked in their text; no browser is needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.clients import node
from tests.support.processes import ROOT

WEB = ROOT / "clients" / "web"
SOURCE = WEB / "src"
MODULES = sorted(SOURCE.rglob("*.js"))
LONGEST_MODULE, LONGEST_MAIN = 260, 80

# Text that becomes markup, code or style.
SINKS = (
    r"\b(inner|outer)HTML\b", r"\binsertAdjacentHTML\b", r"\bdocument\s*\.\s*write(ln)?\b", r"\beval\b", r"\bnew\s+Function\b",
    r"\bsrcdoc\b", r"\bDOMParser\b", r"\bcreateContextualFragment\b", r"\bsetHTML\w*", r"\bset(Timeout|Interval)\s*\(\s*[\"'`]",
    r"setAttribute(NS)?\s*\(\s*[\"']style", r"\bstyle\s*=\s*[\"'`]", r"\bcssText\b", r"javascript:",
)  # fmt: skip
# pattern -> the modules that may contain it
ONLY_IN = {
    r"\bfetch\s*\(": {"rest.js"},
    r"\b(XMLHttpRequest|sendBeacon|EventSource|WebSocket|importScripts)\b\s*\(": set(),
    r"\bDate\s*\.\s*now\b": {"clock.js"},
    r"\bnew\s+Date\s*\(\s*\)": set(),
    r"\brequestAnimationFrame\b": {"paint.js"},
    r"\blocalStorage\b": {"settings.js"},
    r"\bsessionStorage\b": {"session.js"},
    r"[\"'](tickwire-client|socket\.io-client)[\"']": {"hub.js"},
}
PURE = ("freshness.js", "format.js", "decimals.js", "zones.js", "cluster.js")
DOM = r"\b(document|window|location|navigator|localStorage|HTMLElement)\s*\."


def code_of(text: str) -> str:
    """Return the text without its comments; strings with `//` in URLs stay."""
    text = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    return re.sub(r"(^|[\s;{}(,])//[^\n]*", r"\1", text)


def places(pattern: str, allowed: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Return `FILE:LINE: TEXT` of every match of the pattern in a module that is not allowed."""
    found = []
    for file in MODULES:
        if file.relative_to(SOURCE).as_posix() not in allowed:
            lines = code_of(file.read_text()).splitlines()
            found += [f"{file.relative_to(WEB)}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if re.search(pattern, line)]
    return found


@pytest.mark.parametrize("pattern", SINKS)
def test_no_module_turns_text_into_markup_code_or_style(pattern: str) -> None:
    assert places(pattern) == []


@pytest.mark.parametrize("pattern", ONLY_IN)
def test_each_door_to_the_outside_has_one_module(pattern: str) -> None:
    assert places(pattern, ONLY_IN[pattern]) == []


def test_rules_find_what_they_forbid() -> None:
    bad = (
        "a.innerHTML = b", "a.outerHTML", 'a.insertAdjacentHTML("x", b)', "document.write(a)", "eval(a)", "new Function(a)",
        "frame.srcdoc = a", "new DOMParser()", "range.createContextualFragment(a)", "a.setHTMLUnsafe(b)",
        'setTimeout("a()", 1)', 'a.setAttribute("style", b)',
        '`<i style="a">`', "a.style.cssText = b", 'link("javascript:a")',
    )  # fmt: skip
    assert [line for line in bad if not any(re.search(pattern, line) for pattern in SINKS)] == []
    assert [pattern for pattern in SINKS if not any(re.search(pattern, line) for line in bad)] == []
    assert code_of('a("http://b"); // eval\n/* eval\n */ c') == 'a("http://b"); \n\n c'


def test_modules_are_checked_and_short() -> None:
    for file in MODULES:
        lines = file.read_text().splitlines()
        assert lines[0] == "// @ts-check", file
        assert len(lines) <= LONGEST_MODULE, f"{file}: {len(lines)} lines"
    assert len((SOURCE / "main.js").read_text().splitlines()) <= LONGEST_MAIN


def test_pure_modules_and_the_store_know_no_document() -> None:
    for name in PURE:
        code = code_of((SOURCE / name).read_text())
        assert not re.search(DOM, code), name
        assert all(path.removeprefix("./") in PURE for path in re.findall(r'from\s+"([^"]+)"', code)), name
    assert not re.search(r"\b(document|window|HTMLElement)\s*\.", code_of((SOURCE / "store.js").read_text()))


def test_modules_import_own_files_with_relative_paths() -> None:
    vendored = {"tickwire-client", "socket.io-client"}
    for file in MODULES:
        for path in re.findall(r'(?:\bfrom|\bimport)\s*\(?\s*"([^"]+)"', code_of(file.read_text())):
            if path not in vendored:
                assert path.startswith(("./", "../")), (file, path)
                target = (file.parent / path).resolve()
                assert target.is_file() or "vendor/" in path, (file, path)


def test_page_has_no_style_and_no_script_but_the_import_map() -> None:
    text = (WEB / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", text) == ['<script type="importmap">']
    assert not re.search(r"<style|\bstyle\s*=|\son\w+\s*=|javascript:", text)
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        assert not re.match(r"[a-z]+:(?!,$)|/", address), f"{address} is not relative to the page"


def test_themes_and_palettes_differ_in_colours_alone() -> None:
    """The checks of accessibility rely on it: the second theme is checked for its colours alone."""
    blocks = re.findall(r"([^{}]*\[data-(?:theme|palette)[^{}]*)\{([^{}]*)\}", (WEB / "app.css").read_text())
    assert any('[data-theme="light"]' in selector for selector, _ in blocks)
    for selector, text in blocks:
        for declaration in filter(None, map(str.strip, text.split(";"))):
            assert re.fullmatch(r"color-scheme: (light|dark)|--[\w-]+: #[0-9a-f]{6}", declaration), (selector.strip(), declaration)


def test_types_of_the_modules_are_right() -> None:
    compiler = WEB / "node_modules" / "typescript" / "bin" / "tsc"
    assert compiler.exists(), "clients/web/node_modules is missing: run scripts/node.sh"
    # V8 in one thread needs a third less CPU for these few seconds.
    done = subprocess.run([node(), "--single-threaded", str(compiler), "--noEmit"], cwd=WEB, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout


def modules_of(folder: Path) -> list[str]:
    """Return the names of a folder's modules."""
    return sorted(path.name for path in folder.glob("*.js"))


def test_every_module_of_the_design_exists() -> None:
    assert {"market.js", "instrument.js", "analytics.js", "alerts.js", "trading.js", "scenarios.js", "system.js"} == set(
        modules_of(SOURCE / "views")
    )
    parts = {"grid", "row", "sparkline", "chart", "ladder", "series", "heat", "banner", "dialog", "frame", "signin", "h"}
    assert {f"{name}.js" for name in parts} <= set(modules_of(SOURCE / "parts"))
