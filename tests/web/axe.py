"""axe-core in a page: the rules of WCAG 2.2 A and AA."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from playwright.sync_api import Page

from tests.support.processes import ROOT

AXE = ROOT / "clients" / "web" / "node_modules" / "axe-core" / "axe.min.js"
# `preload` would fetch the style sheets again.
_RUN = """async ([exclude, onlyColours]) => {
    const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];
    const rules = axe.getRules(tags).filter((rule) => rule.tags.includes("cat.color")).map(({ ruleId }) => ruleId);
    const runOnly = onlyColours ? rules : tags;
    const { violations } = await axe.run({ include: ["html"], exclude }, { runOnly, resultTypes: ["violations"], preload: false });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target} ${failureSummary}`));
}"""


@cache
def source() -> str:
    """The text of axe-core."""
    assert AXE.exists(), "clients/web/node_modules is missing: run scripts/node.sh"
    return AXE.read_text()


def violations(page: Page, exclude: Sequence[str] = (), *, only_colours: bool = False) -> list[str]:
    """Return the violations of the page as it is now, without the parts `exclude` (selectors).

    `only_colours`: those of the rules about colours alone.
    """
    if not page.evaluate("() => 'axe' in globalThis"):
        page.evaluate(source())
    return list(page.evaluate(_RUN, [list(exclude), only_colours]))
