"""The alerts of a series of values: examples, properties, and a plain implementation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.figures.alert_rules import CRITICAL, WARNING, AlertRule, Episode, Verdict, judge

NOON = datetime(2025, 11, 18, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULE = AlertRule(0.02, 0.04)  # calm below 0.018, cooldown 6 hours
CALM = Episode()

values = st.lists(st.floats(0, 0.1) | st.sampled_from([0.0179, 0.018, 0.02, 0.0201, 0.04, 0.0401]), max_size=60)
rules = st.builds(
    lambda warning, more, hysteresis, hours: AlertRule(warning, warning + more, hysteresis, hours * HOUR),
    st.floats(0.001, 0.05),
    st.floats(0, 0.05),
    st.floats(0, 0.9),
    st.integers(0, 12),
)


def follow(rule: AlertRule, series: Sequence[float]) -> list[Verdict]:
    """Return the verdicts on hourly values, one after the other."""
    steps = accumulate(
        enumerate(series), lambda before, each: judge(rule, before.episode, each[1], NOON + each[0] * HOUR), initial=Verdict(CALM)
    )
    return list(steps)[1:]


def severities(rule: AlertRule, series: Sequence[float]) -> list[str | None]:
    return [verdict.severity for verdict in follow(rule, series)]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([0.02, 0.04], [None, WARNING]),  # a value must exceed the threshold
        ([0.021, 0.019, 0.021, 0.0181, 0.03], [WARNING, None, None, None, None]),  # oscillates: one episode
        ([0.021, 0.041, 0.021, 0.041, 0.5], [WARNING, CRITICAL, None, None, None]),  # an escalation is a second alert, a fall is none
        ([0.041, 0.03, 0.041], [CRITICAL, None, None]),  # at once critical: one alert
        ([0.03, 0.01, 0.03], [WARNING, None, None]),  # a new episode within the cooldown
        ([0.03, 0.01, 0.05], [WARNING, None, CRITICAL]),  # more severe than the last alert
        ([0.05, 0.01, 0.03, 0.05], [CRITICAL, None, None, None]),  # not more severe
        ([0.03, 0.01, *[0.03] * 5], [WARNING, *[None] * 5, WARNING]),  # outlasts the cooldown
        ([0.03, *[0.01] * 5, 0.03], [WARNING, *[None] * 5, WARNING]),
        ([0.05, 0.01, *[0.03] * 5, 0.05], [CRITICAL, *[None] * 5, WARNING, CRITICAL]),
    ],
)
def test_series_of_values_causes_the_expected_alerts(series: list[float], expected: list[str | None]) -> None:
    assert severities(RULE, series) == expected


def test_alert_has_its_threshold_and_the_new_episode() -> None:
    first, second = follow(RULE, [0.03, 0.05])
    assert first == Verdict(Episode(WARNING, NOON, WARNING), WARNING, 0.02)
    assert second == Verdict(Episode(CRITICAL, NOON + HOUR, CRITICAL), CRITICAL, 0.04)
    assert judge(RULE, second.episode, 0.001, NOON + 2 * HOUR) == Verdict(Episode(None, NOON + HOUR, CRITICAL))


def test_equal_thresholds_cause_critical_alerts_only() -> None:
    assert severities(AlertRule(0.02, 0.02), [0.02, 0.021, 0.03]) == [None, CRITICAL, None]


def test_value_that_is_no_number_changes_no_state() -> None:
    episode = Episode(WARNING, NOON, WARNING)
    assert judge(RULE, episode, math.nan, NOON + HOUR) == Verdict(episode)


@given(rules, values)
def test_episode_has_at_most_one_alert_per_severity(rule: AlertRule, series: list[float]) -> None:
    in_episode: list[str] = []
    for value, verdict in zip(series, follow(rule, series), strict=True):
        if value < rule.warning * (1 - rule.hysteresis):
            in_episode = []
        if verdict.severity is not None:
            assert verdict.threshold == {WARNING: rule.warning, CRITICAL: rule.critical}[verdict.severity]
            assert value > verdict.threshold
            in_episode.append(verdict.severity)
        assert in_episode in ([], [WARNING], [CRITICAL], [WARNING, CRITICAL])


@given(rules, values)
def test_alerts_are_a_cooldown_apart_unless_severity_rises(rule: AlertRule, series: list[float]) -> None:
    alerts = [(hour, severity) for hour, severity in enumerate(severities(rule, series)) if severity]
    for (hour1, before), (hour2, after) in pairwise(alerts):
        assert (hour2 - hour1) * HOUR >= rule.cooldown or (before, after) == (WARNING, CRITICAL)


@given(st.floats(0.01, 0.5), st.sampled_from([0.02, 0.04]), st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=40))
def test_value_oscillating_around_a_threshold_is_one_alert(hysteresis: float, threshold: float, amounts: list[float]) -> None:
    rule = AlertRule(0.02, 0.04, hysteresis, cooldown=timedelta(0))
    series = [threshold * (1 + hysteresis * min(amount, 0.5)) for amount in amounts]
    assert severities(rule, [threshold * 1.001, *series]).count(WARNING if threshold == 0.02 else CRITICAL) == 1


@given(rules, values, st.floats(0, 0.2), st.floats(0, 0.2))
def test_larger_value_never_lowers_the_severity(rule: AlertRule, series: list[float], one: float, other: float) -> None:
    """The rule may have any state before."""
    episode = follow(rule, series)[-1].episode if series else CALM
    moment = NOON + len(series) * HOUR
    smaller, larger = (judge(rule, episode, value, moment).severity for value in sorted((one, other)))
    order = [None, WARNING, CRITICAL]
    assert order.index(smaller) <= order.index(larger)


@given(rules, values)
def test_judge_equals_a_plain_implementation(rule: AlertRule, series: list[float]) -> None:
    assert severities(rule, series) == plain(rule, series)


def plain(rule: AlertRule, series: Sequence[float]) -> list[str | None]:
    """Return the alerts; every value is judged from the whole past."""
    answers: list[str | None] = []
    for hour, value in enumerate(series):
        begins = next((past + 1 for past in range(hour - 1, -1, -1) if series[past] < rule.warning * (1 - rule.hysteresis)), 0)
        this_episode = [answer for answer in answers[begins:] if answer]
        last = next(((past, answer) for past, answer in reversed(list(enumerate(answers))) if answer), None)
        answer = CRITICAL if value > rule.critical else WARNING if value > rule.warning else None
        if answer in this_episode or (answer == WARNING and CRITICAL in this_episode):
            answer = None
        if answer and not this_episode and last is not None and (hour - last[0]) * HOUR < rule.cooldown and last[1] in (answer, CRITICAL):
            answer = None
        answers.append(answer)
    return answers
