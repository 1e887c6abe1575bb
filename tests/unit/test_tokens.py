"""Verification of JSON Web Tokens: PyJWT makes the good ones, the bad ones are made by hand."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from api.access.audit import AuditCounts
from api.access.authenticator import CallerAuthenticator
from api.access.model import Access, Handshake
from api.access.table import AccessTable, Tables, has_expired
from api.access.tokens import verified
from api.access.tokens.claims import TokenRules
from api.access.tokens.keys import JwksError, PublicKeys, SecretKey, TokenKeys, parse_jwks
from api.access.tokens.verifier import JwtVerifier
from api.errors import ErrorCode, Refusal, Unauthorized
from config.access.modes import REQUIRED
from config.access.patterns import NOTHING, compile_patterns
from db.access_log import LIMIT, REFUSE
from db.revoked_tokens import RevokedToken
from tests.support.tokens import AUDIENCE, ISSUER, PUBLIC, RIGHTS, SECRET, claims, jwk, jwks, part, private_key, token

NOW = 1_763_469_000.0
RULES = TokenRules(ISSUER, AUDIENCE, "tickwire", leeway_seconds=30, max_ttl_seconds=86_400)
ADDRESS = "192.0.2.1"
RSA_PEM = private_key("RS256").public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
HEADER = {"alg": "HS256", "typ": "JWT"}

NO_TIMES: list[Any] = [None, "1", True, [], -1, 1e300, 10**400]
NO_CLAIMS: list[Any] = [None, [], "read", 1]
NO_RIGHTS: list[Any] = [None, "read", {}, [1], -1, 0, True, 1.5]


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = NOW

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


class CountingKeys:
    """Keys that count the searches: each verification does one."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys
        self.searches = 0

    @property
    def generation(self) -> int:
        return self._keys.generation

    def find(self, header: Any) -> Any:
        self.searches += 1
        return self._keys.find(header)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secret(clock: Clock) -> JwtVerifier:
    return JwtVerifier(("HS256",), SecretKey(SECRET), RULES, clock)


def ring(*keys: dict[str, Any], algorithms: tuple[str, ...] = PUBLIC) -> PublicKeys:
    made = PublicKeys()
    made.take(parse_jwks(jwks(*keys), algorithms))
    return made


def public(clock: Clock, keys: PublicKeys | None = None, algorithms: tuple[str, ...] = PUBLIC) -> JwtVerifier:
    return JwtVerifier(algorithms, ring() if keys is None else keys, RULES, clock)


def refusal(verifier: JwtVerifier, text: str, address: str = ADDRESS) -> str:
    """Return the reason in the log; the client receives one message for all."""
    with pytest.raises(Unauthorized) as caught:
        verifier.verify(text, address)
    assert (str(caught.value), caught.value.details, caught.value.sent) == ("A valid credential is needed.", {}, True)
    return caught.value.reason


def signed(header: Any, payload: Any, key: bytes = SECRET.encode()) -> str:
    """Return a token of any header and payload, with a correct HMAC."""
    text = f"{part(header)}.{part(payload)}"
    return f"{text}.{part(hmac.digest(key, text.encode(), hashlib.sha256))}"


# good tokens


@pytest.mark.parametrize("algorithm", ["HS256", *PUBLIC])
def test_token_of_each_algorithm_has_the_rights_of_its_claim(algorithm: str, clock: Clock, secret: JwtVerifier) -> None:
    verifier = secret if algorithm == "HS256" else public(clock)
    access = verifier.verify(token(algorithm, claims(NOW)), ADDRESS)
    assert access.scopes == {"read"}
    assert access.patterns == compile_patterns(["EUR_*"])
    assert (access.bots, access.limits.connections, access.key_id) == (frozenset(), 5, None)
    assert (access.subject, access.name, access.jti, access.caller) == ("ada", "ada", "7c1", "sub:ada")
    assert access.expires_at == datetime(2025, 11, 18, 12, 40, tzinfo=UTC) == datetime.fromtimestamp(NOW + 600, UTC)
    assert access.ends_at == datetime(2025, 11, 18, 12, 40, 30, tzinfo=UTC)
    assert access.issued_at == datetime(2025, 11, 18, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("claim", "scopes", "instruments", "bots", "connections"),
    [
        (..., set(), [], set(), None),
        ({}, set(), [], set(), None),
        ({"scopes": ["read", "admin", "fly"]}, {"read"}, [], set(), None),
        ({"scopes": ["report"], "bots": ["mm-1", "mm-2"], "colour": "red"}, {"report"}, [], {"mm-1", "mm-2"}, None),
        ({"instruments": ["*", "!BTC*"], "max_connections": 1}, set(), ["*", "!BTC*"], set(), 1),
    ],
)
def test_rights_that_are_not_in_the_claim_are_missing(
    claim: Any, scopes: set[str], instruments: list[str], bots: set[str], connections: int | None, secret: JwtVerifier
) -> None:
    access = secret.verify(token("HS256", claims(NOW, tickwire=claim)), ADDRESS)
    assert access.scopes == scopes
    assert access.bots == frozenset(bots)
    assert access.patterns.texts == tuple(instruments)
    assert access.limits.connections == connections
    assert access.patterns is not NOTHING or not instruments


@pytest.mark.parametrize(
    "changes",
    [
        {"iat": ...},
        {"jti": ...},
        {"nbf": NOW - 5},
        {"nbf": NOW + 30, "iat": NOW + 30},  # the leeway
        {"exp": NOW - 29},
        {"exp": NOW + 86_400},  # the longest life
        {"exp": NOW + 86_400, "iat": ...},
        {"exp": NOW + 0.5},
        {"aud": ["other", AUDIENCE]},
        {"sub": "Zoë Müller"},
        {"tickwire": {"instruments": ["A" * 32] * 64, "bots": [f"bot-{number}" for number in range(64)]}},
    ],
)
def test_token_is_accepted(changes: dict[str, Any], secret: JwtVerifier, clock: Clock) -> None:
    access = secret.verify(token("HS256", claims(NOW, **changes)), ADDRESS)
    assert not has_expired(access, clock())


@pytest.mark.parametrize(
    "headers", [{"typ": None}, {"typ": "tickwire+jwt"}, {"jku": "http://[", "x5u": 1, "jwk": {"kty": "oct"}, "kid": "?"}]
)
def test_header_is_accepted(headers: dict[str, Any], secret: JwtVerifier) -> None:
    assert secret.verify(token("HS256", claims(NOW), headers), ADDRESS).subject == "ada"


def test_name_of_the_claim_is_a_setting(clock: Clock) -> None:
    rules = TokenRules(ISSUER, AUDIENCE, "https://example.com/rights", 30, 86_400)
    verifier = JwtVerifier(("HS256",), SecretKey(SECRET), rules, clock)
    given = claims(NOW, tickwire=..., **{rules.claim: {"scopes": ["observe"]}})
    assert verifier.verify(token("HS256", given), ADDRESS).scopes == {"observe"}


# bad tokens


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        *(({name: ...}, reason) for name, reason in (("iss", "issuer"), ("aud", "audience"), ("sub", "malformed_claim"))),
        ({"exp": ...}, "malformed_claim"),
        ({"iss": f"{ISSUER}/"}, "issuer"),
        ({"iss": [ISSUER]}, "issuer"),
        ({"aud": "tickwire2"}, "audience"),
        ({"aud": ["other"]}, "audience"),
        ({"aud": {AUDIENCE: 1}}, "audience"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": NOW - 3600}, "expired"),
        ({"nbf": NOW + 31}, "not_yet_valid"),
        ({"iat": NOW + 31}, "not_yet_valid"),
        ({"exp": NOW + 86_401}, "lifetime"),
        ({"exp": NOW + 86_401, "iat": ...}, "lifetime"),
        ({"exp": NOW + 60, "iat": NOW - 86_400}, "lifetime"),
        ({"sub": ""}, "malformed_claim"),
        ({"sub": 7}, "malformed_claim"),
        ({"sub": "a\nb"}, "malformed_claim"),
        ({"jti": 7}, "malformed_claim"),
        *(({name: value}, "malformed_claim") for name in ("exp", "iat", "nbf") for value in NO_TIMES),
        *(({"tickwire": value}, "malformed_claim") for value in NO_CLAIMS),
        *(({"tickwire": {name: value}}, "malformed_claim") for name in RIGHTS for value in NO_RIGHTS),
        ({"tickwire": {"bots": [f"bot-{number}" for number in range(65)]}}, "malformed_claim"),
        *(({"tickwire": {"instruments": [text]}}, "pattern") for text in ("eur", "", "A" * 33, "EUR/USD", "!!A")),
        ({"tickwire": {"instruments": ["A"] * 65}}, "pattern"),
    ],
)
def test_token_with_bad_claims_is_refused(changes: dict[str, Any], reason: str, secret: JwtVerifier) -> None:
    found = refusal(secret, signed(HEADER, claims(NOW, **changes)))
    # orjson reads a number of 400 digits as an infinite one, which it refuses
    assert found == reason or (found == "malformed" and changes in [{name: 10**400} for name in ("exp", "iat", "nbf")])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({**HEADER, "alg": "none"}, "algorithm"),
        ({**HEADER, "alg": "None"}, "algorithm"),
        ({**HEADER, "alg": "HS512"}, "algorithm"),
        ({**HEADER, "alg": ["HS256"]}, "algorithm"),
        ({"typ": "JWT"}, "algorithm"),
        ({**HEADER, "typ": "at+jwt"}, "type"),
        ({**HEADER, "typ": None}, "type"),
        ({**HEADER, "typ": ["JWT"]}, "type"),
        ({**HEADER, "crit": ["exp"]}, "critical_header"),
        ({**HEADER, "crit": [], "b64": False}, "critical_header"),
        ({**HEADER, "kid": 1}, "malformed"),
        ({**HEADER, "b64": False}, "malformed"),
        ([HEADER], "malformed"),
        (b"{", "malformed"),
        (b"[" * 3000, "malformed"),
    ],
)
def test_token_with_a_bad_header_is_refused(header: Any, reason: str, secret: JwtVerifier) -> None:
    assert refusal(secret, signed(header, claims(NOW))) == reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "é.b.c",
        "\ud800.b.c",
        signed(HEADER, b"{"),
        signed(HEADER, [1]),
        signed(HEADER, b'{"exp": NaN}'),
        signed(HEADER, b"[" * 2500),
        signed(HEADER, claims(NOW, note="x" * 4000)),
        "x" * 60_000,
        f"{'x' * 60_000}.b.c",
    ],
)
def test_malformed_token_is_refused(text: str, secret: JwtVerifier) -> None:
    assert refusal(secret, text) == "malformed"


def test_token_without_a_signature_is_refused(secret: JwtVerifier, clock: Clock) -> None:
    head, body, _ = token("HS256", claims(NOW)).split(".")
    assert refusal(secret, f"{head}.{body}.") == "bad_signature"
    head, body, _ = token("ES256", claims(NOW)).split(".")
    for signature in (b"", bytes(64), bytes(63), bytes(range(64))):  # CVE-2022-21449 is the one of zeros
        assert refusal(public(clock), f"{head}.{body}.{part(signature)}") == "bad_signature"


def test_public_key_is_no_secret(clock: Clock) -> None:
    """A PEM as the secret of HMAC: the confusion of HS256 and RS256."""
    forged = signed({**HEADER, "kid": "RS256"}, claims(NOW), RSA_PEM)
    assert refusal(public(clock), forged) == "algorithm"
    with pytest.raises(ValueError, match="should not be used as an HMAC secret"):
        SecretKey(RSA_PEM.decode())


def test_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        SecretKey("s" * 31)
    SecretKey("s" * 32)


@pytest.mark.parametrize("algorithm", PUBLIC)
def test_token_of_another_key_is_refused(algorithm: str, clock: Clock) -> None:
    assert refusal(public(clock), token(algorithm, claims(NOW), key=private_key(algorithm, 1))) == "bad_signature"
    for other in PUBLIC:
        if other != algorithm:
            assert refusal(public(clock), token(algorithm, claims(NOW), {"kid": other})) == "unknown_kid"
    assert refusal(public(clock, algorithms=tuple(set(PUBLIC) - {algorithm})), token(algorithm, claims(NOW))) == "algorithm"


def test_key_in_the_header_is_ignored(clock: Clock) -> None:
    headers = {"kid": "EdDSA", "jwk": jwk("EdDSA", "EdDSA", 1), "jku": "https://example.com/keys", "x5u": "https://example.com/cert"}
    assert refusal(public(clock), token("EdDSA", claims(NOW), headers, key=private_key("EdDSA", 1))) == "bad_signature"
    assert public(clock).verify(token("EdDSA", claims(NOW), headers), ADDRESS).subject == "ada"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["HS256", *PUBLIC]), st.integers(0, 10_000), st.characters(codec="ascii"))
def test_changed_token_is_refused(algorithm: str, position: int, character: str) -> None:
    clock = Clock()
    verifier = public(clock) if algorithm != "HS256" else JwtVerifier(("HS256",), SecretKey(SECRET), RULES, clock)
    good = token(algorithm, claims(NOW))
    position %= len(good)
    changed = good[:position] + character + good[position + 1 :]
    if changed != good:
        refusal(verifier, changed)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    refusal(JwtVerifier(("HS256",), SecretKey(SECRET), RULES, Clock()), text)


# the order of the checks, and failures by address


def failing(verifier: JwtVerifier, times: int, address: str = ADDRESS) -> None:
    for number in range(times):
        assert refusal(verifier, signed(HEADER, {"number": number}, b"x" * 32), address) == "bad_signature"


def test_address_with_too_many_failures_waits(clock: Clock) -> None:
    keys = CountingKeys(SecretKey(SECRET))
    verifier = JwtVerifier(("HS256",), keys, RULES, clock)
    earlier = token("HS256", claims(NOW, sub="earlier"))
    verifier.verify(earlier, ADDRESS)
    failing(verifier, 10)
    clock.seconds += 20
    later = token("HS256", claims(NOW, sub="later"))
    with pytest.raises(Refusal) as caught:
        verifier.verify(later, ADDRESS)
    assert (caught.value.code, caught.value.details) == (ErrorCode.TOO_MANY_REQUESTS, {"retry_after": 40})
    assert verifier.verify(earlier, ADDRESS).subject == "earlier"
    assert verifier.verify(later, "192.0.2.2").subject == "later"
    assert refusal(verifier, "a.b.c") == "malformed"  # the cheap checks come first
    assert refusal(verifier, signed({"alg": "none"}, claims(NOW))) == "algorithm"
    clock.seconds += 40
    assert verifier.verify(token("HS256", claims(NOW)), ADDRESS).subject == "ada"
    failing(verifier, 10)


def test_failures_in_the_header_do_not_count(clock: Clock) -> None:
    verifier = public(clock)
    for _ in range(20):
        assert refusal(verifier, token("EdDSA", claims(NOW), {"kid": "unknown"})) == "unknown_kid"
    assert verifier.verify(token("EdDSA", claims(NOW)), ADDRESS).subject == "ada"


def test_failures_have_a_bound_and_survive_a_step_of_the_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "_MAX_ADDRESSES", 3)
    verifier = JwtVerifier(("HS256",), SecretKey(SECRET), RULES, clock)
    failing(verifier, 10)
    clock.seconds -= 3600
    failing(verifier, 10)
    with pytest.raises(Refusal, match="Too many"):
        failing(verifier, 1)
    for number in range(3):
        failing(verifier, 1, f"198.51.100.{number}")
    failing(verifier, 1)
    assert len(verifier._failures._counts) == 3


# earlier results


def test_verified_token_is_kept_until_it_expires(clock: Clock) -> None:
    keys = CountingKeys(SecretKey(SECRET))
    verifier = JwtVerifier(("HS256",), keys, RULES, clock)
    text = token("HS256", claims(NOW))
    first = verifier.verify(text, ADDRESS)
    assert verifier.verify(text, "192.0.2.2") is first
    clock.seconds += 599
    assert verifier.verify(text, ADDRESS) is first
    assert keys.searches == 1
    clock.seconds += 1
    assert verifier.verify(text, ADDRESS) == first  # in the leeway, each use is a verification
    assert keys.searches == 2
    clock.seconds += 30
    assert refusal(verifier, text) == "expired"


def test_kept_tokens_have_a_bound(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "MAX_TOKENS", 3)
    keys = CountingKeys(SecretKey(SECRET))
    verifier = JwtVerifier(("HS256",), keys, RULES, clock)
    texts = [token("HS256", claims(NOW, sub=name)) for name in "abcd"]
    for text in (*texts[:3], texts[0], texts[3]):
        verifier.verify(text, ADDRESS)
    assert keys.searches == 4
    verifier.verify(texts[0], ADDRESS)
    assert keys.searches == 4
    verifier.verify(texts[1], ADDRESS)  # the one that was not used for the longest time
    assert keys.searches == 5
    assert len(verifier._verified._tokens) == 3


def test_token_of_a_withdrawn_key_is_refused_although_it_was_kept(clock: Clock) -> None:
    keys = ring(jwk("EdDSA", "old"), jwk("ES256", "other"))
    verifier = public(clock, keys)
    text = token("EdDSA", claims(NOW), {"kid": "old"})
    first = verifier.verify(text, ADDRESS)
    assert keys.take(parse_jwks(jwks(jwk("EdDSA", "old"), jwk("ES256", "other"), jwk("EdDSA", "new", 1)), PUBLIC))
    assert verifier.verify(text, ADDRESS) is first
    assert keys.take(parse_jwks(jwks(jwk("ES256", "other"), jwk("EdDSA", "old", 1)), PUBLIC))
    assert refusal(verifier, text) == "bad_signature"  # the id has another key now


def test_threads_share_a_verifier(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "MAX_TOKENS", 5)
    verifier = JwtVerifier(("HS256",), SecretKey(SECRET), RULES, clock, threading.Lock())
    texts = [token("HS256", claims(NOW, sub=f"s{number}")) for number in range(10)]
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(30):
                assert [verifier.verify(text, ADDRESS).subject for text in texts] == [f"s{number}" for number in range(10)]
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# the authenticator


def authenticator(verifier: JwtVerifier, clock: Clock) -> tuple[Callable[[str], Access], Tables, AuditCounts]:
    tables, counts = Tables(AccessTable()), AuditCounts("hub", clock)
    made = CallerAuthenticator(REQUIRED, Access(frozenset(), NOTHING), tables, clock, counts, verifier)
    return (lambda text: made.authenticate(Handshake("rest", ADDRESS, {"authorization": f"Bearer {text}"}))), tables, counts


def test_revoked_token_is_refused_although_it_was_kept(secret: JwtVerifier, clock: Clock) -> None:
    authenticate, tables, _ = authenticator(secret, clock)
    text = token("HS256", claims(NOW))
    assert authenticate(text).subject == "ada"
    later = clock() + timedelta(days=1)
    tables.take((), [RevokedToken(jti="7c1", sub=None, before=None, expires=later, changed=1)])
    with pytest.raises(Unauthorized):
        authenticate(text)
    assert authenticate(token("HS256", claims(NOW, jti="7c2"))).subject == "ada"


def test_failures_of_tokens_are_in_the_log_of_access(secret: JwtVerifier, clock: Clock) -> None:
    authenticate, _, counts = authenticator(secret, clock)
    for number in range(12):
        with pytest.raises(Refusal):
            authenticate(signed(HEADER, {"number": number}, b"x" * 32))
    events = {event.action: event for event in counts.take_refusals(all_of_them=True)}
    assert set(events) == {REFUSE, LIMIT}
    assert (events[REFUSE].details["reasons"], events[LIMIT].details["reasons"]) == ({"bad_signature": 10}, {"JWT failures": 2})
    assert events[LIMIT].ip == ADDRESS


# sets of public keys


def test_keys_of_other_uses_and_weak_keys_are_left_out() -> None:
    weak = json.loads(jwks(jwk("RS256")))["keys"][0] | {
        "n": part(private_key("RS256", bits=1024).public_key().public_numbers().n.to_bytes(128))
    }
    listed = [
        jwk("RS256", "encryption", use="enc"),
        jwk("RS256", "other-algorithm", alg="RS512"),
        jwk("EdDSA", "signing", key_ops=["sign"]),
        jwk("EdDSA", "x448", crv="X448"),
        jwk("ES256", "curve", crv="P-384"),
        jwk("ES256", "point", y=part(b"1" * 32)),
        jwk("ES256", "text", y="?"),
        jwk("ES256", "missing", x=None),
        jwk("ES256", "number", x=1),
        jwk("ES256", use="sig") | {"kid": 1},
        {"kty": "oct", "kid": "secret", "k": part(b"s" * 32)},
        {**weak, "kid": "weak"},
        "text",
        {},
        jwk("RS256", "good", alg="RS256", key_ops=["verify"]),
        jwk("EdDSA", "also-good", d="a private member is not read"),
    ]
    keys = parse_jwks(json.dumps({"keys": listed}).encode(), PUBLIC)
    assert [(key.kid, key.algorithm) for key in keys] == [("good", "RS256"), ("also-good", "EdDSA")]
    assert [key.kid for key in parse_jwks(json.dumps({"keys": listed}).encode(), ["EdDSA"])] == ["also-good"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "it is not JSON"),
        (b"<html>", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it has no list `keys`"),
        (b'{"keys": {}}', "it has no list `keys`"),
        (b'{"keys": []}', "it has no usable key for RS256, ES256, EdDSA"),
        (jwks(jwk("RS256", use="enc")), "it has no usable key for RS256, ES256, EdDSA"),
        (jwks(*[jwk("EdDSA")] * 51), "it has 51 keys: at most 50 are read"),
    ],
)
def test_bad_set_is_an_error(data: bytes, text: str) -> None:
    with pytest.raises(JwksError) as caught:
        parse_jwks(data, PUBLIC)
    assert str(caught.value) == text


def test_token_without_a_key_id_needs_a_set_with_one_key(clock: Clock) -> None:
    def without(algorithm: str) -> str:
        body = token(algorithm, claims(NOW)).split(".")[1]
        text = f"{part({'alg': algorithm})}.{body}"
        return f"{text}.{part(private_key(algorithm).sign(text.encode()))}"

    one, two = ring(jwk("EdDSA"), jwk("RS256")), ring(jwk("EdDSA"), jwk("EdDSA", "second", 1))
    assert public(clock, one).verify(without("EdDSA"), ADDRESS).subject == "ada"
    assert refusal(public(clock, two), without("EdDSA")) == "unknown_kid"
    assert not two.wanted


def test_unknown_key_id_requests_a_read_of_the_keys(clock: Clock) -> None:
    keys = ring()
    assert refusal(public(clock, keys), token("EdDSA", claims(NOW), {"kid": "new"})) == "unknown_kid"
    assert keys.wanted


def test_token_before_the_first_read_may_come_again(clock: Clock) -> None:
    keys = PublicKeys()
    with pytest.raises(Refusal) as caught:
        public(clock, keys).verify(token("EdDSA", claims(NOW)), ADDRESS)
    assert (caught.value.code, caught.value.details, keys.wanted) == (ErrorCode.UNAVAILABLE, {"retry_after": 2}, True)
