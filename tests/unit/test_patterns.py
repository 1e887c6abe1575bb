"""Patterns of instruments, against `fnmatch` with denials."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.access.patterns import EVERYTHING, MAX_LENGTH, MAX_PATTERNS, NOTHING, PatternError, Patterns, compile_patterns

NAMES = st.text("AB_1*\n", max_size=9)
TEXTS = st.builds(str.__add__, st.sampled_from(["", "!"]), st.text("AB_1*", min_size=1, max_size=8))


def permitted(name: str, texts: list[str]) -> bool:
    """The oracle: a denial wins, and a list without a permission permits nothing."""
    denied = any(fnmatchcase(name, text[1:]) for text in texts if text.startswith("!"))
    return not denied and any(fnmatchcase(name, text) for text in texts if not text.startswith("!"))


@given(texts=st.lists(TEXTS, max_size=6), names=st.lists(NAMES, min_size=1, max_size=8))
def test_patterns_permit_the_names_of_the_oracle(texts: list[str], names: list[str]) -> None:
    patterns = compile_patterns(texts)
    expected = {name for name in names if permitted(name, texts)}
    assert {name for name in names if patterns.permits(name)} == expected
    assert patterns.among(frozenset(names)) == expected


def test_set_of_a_changed_list_of_instruments_is_computed_again() -> None:
    patterns = compile_patterns(["EUR_*"])
    assert patterns.among(frozenset({"EUR_USD", "BTCUSDT"})) == {"EUR_USD"}
    assert patterns.among(frozenset({"EUR_USD", "EUR_GBP"})) == {"EUR_USD", "EUR_GBP"}
    assert patterns.among(frozenset()) == frozenset()


@pytest.mark.parametrize(
    "texts",
    [[""], ["eur_usd"], ["EUR/USD"], ["!"], ["!!A"], ["A!"], ["Ä"], ["A" * (MAX_LENGTH + 1)], ["A\n"], ["A"] * (MAX_PATTERNS + 1)],
)
def test_bad_list_is_refused(texts: list[str]) -> None:
    with pytest.raises(PatternError):
        compile_patterns(texts)


def test_lists_at_the_limits_are_accepted() -> None:
    assert compile_patterns([f"!{'A' * (MAX_LENGTH - 1)}"] + ["*" * MAX_LENGTH] * (MAX_PATTERNS - 1)).permits("A")


def test_denials_alone_and_an_empty_list_permit_nothing() -> None:
    assert not compile_patterns(["!BTCUSDT"]).permits("EUR_USD")
    assert not NOTHING.permits("EUR_USD")
    assert EVERYTHING.permits("any text, which is unknown later")


def test_equal_lists_are_equal_and_hashable() -> None:
    assert Patterns(["A*"]) == Patterns(("A*",)) != Patterns(["A"])
    assert len({Patterns(["A*"]), Patterns(["A*"])}) == 1


def test_many_stars_need_little_time() -> None:
    """A backtracking search would need more than 10^9 steps."""
    assert not compile_patterns(["*A" * 16]).permits("A" * 15 + "B" * 60)
    assert not compile_patterns(["*A*A*A*A*A*A*A*A*A*A*A*A*A*A*AB"]).permits("A" * 4000)


def test_remembered_names_are_bounded() -> None:
    patterns = Patterns(["A*"])
    for number in range(10_000):
        assert patterns.permits(f"A{number}")
    assert len(patterns._permitted) <= 1024
