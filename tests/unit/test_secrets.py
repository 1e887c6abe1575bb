"""Scrubbing of secrets: every form in which a text may contain one."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.secrets import Scrubber, mask_url
from jobs.feeds.base import SourceError

KEY = "tw_ab12cd34_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=4, max_size=30)


@given(secret=texts, before=st.text(), after=st.text())
def test_secret_is_replaced_in_every_form(secret: str, before: str, after: str) -> None:
    scrub = Scrubber([secret])
    forms = secret, quote(secret, safe=""), quote(secret), quote_plus(secret), json.dumps(secret)[1:-1], repr(secret)[1:-1]
    for form in forms:
        assert form not in scrub(f"<{form}>").replace("***", "")
    if secret not in before + after and "***" not in secret:
        assert secret not in scrub(f"{before}{secret}\n{after}").replace("***", "\n")


@given(password=texts)
def test_passwords_of_urls_are_replaced_outside_the_url_too(password: str) -> None:
    assume(password not in "refused: !")  # the rest of the text
    for url in (f"postgresql://hub:{quote(password, safe='')}@db/x", f"redis://:{quote(password, safe='')}@db/0"):
        scrub = Scrubber([url])
        assert scrub(f"refused: {password}!").replace("***", "") == "refused: !"
        assert scrub(f"refused: {quote(password, safe='')}!").replace("***", "") == "refused: !"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"the key {KEY} is not known", "the key *** is not known"),
        (f"{{'Authorization': 'Bearer {TOKEN}'}}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: bearer abc/def+ghi==, next", "Authorization: bearer ***, next"),
        ('{"a": "Bearer%20abc"}', '{"a": "Bearer%20***"}'),
        (f"token={TOKEN}&x=1", "token=***&x=1"),
        ("postgresql://hub:a%2Fb@db:5432/x", "postgresql://hub:***@db:5432/x"),
        ("redis://:abc@h/0 and unix://tickwire:abc@/run/redis.sock?db=0", "redis://:***@h/0 and unix://tickwire:***@/run/redis.sock?db=0"),
        ("unix:///run/redis.sock?password=abc&db=0", "unix:///run/redis.sock?password=***&db=0"),
        ("dbname=x password=abc host=h", "dbname=x password=*** host=h"),
        ("wss://stream.example:9443/stream?streams=btcusdt@trade", "wss://stream.example:9443/stream?streams=btcusdt@trade"),
        ("a plain text about tw_ and Bearers", "a plain text about tw_ and Bearers"),
    ],
)
def test_forms_of_secrets_are_replaced_without_being_taught(text: str, expected: str) -> None:
    assert Scrubber()(text) == expected
    assert Scrubber()(expected) == expected


def test_masked_url_of_a_socket_has_no_password() -> None:
    assert mask_url("unix://tickwire:se%2Fcret@/run/redis.sock?db=0") == "unix://tickwire:***@/run/redis.sock?db=0"
    assert mask_url("unix://:secret@/run/redis.sock") == "unix://:***@/run/redis.sock"


def test_longer_secret_is_replaced_before_a_part_of_it() -> None:
    assert Scrubber(["abcd", "abcdefgh"])("abcdefgh abcd") == "*** ***"


def test_value_of_three_characters_is_not_taught() -> None:
    assert Scrubber(["abc", ""])("abc abcd") == "abc abcd"


def test_error_of_a_source_has_no_secret_and_keeps_the_server_s_text_apart() -> None:
    error = SourceError(f"refused {KEY}", fatal=True, server_text=f"Bearer abcdef {'x' * 300}")
    assert str(error) == "refused ***"
    assert error.server_text == f"Bearer *** {'x' * 300}"[:200]
    assert error.explanation == f"refused ***: {error.server_text}"
    assert KEY not in repr(error)
