"""The settings of observability: defaults, forms, and errors that name the variable."""

from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from config.settings import Settings, SettingsError, load


def settings(**environ: str) -> Settings:
    return load(environ, dotenv=None)


def test_defaults_are_those_of_the_contract() -> None:
    chosen = settings()
    assert (chosen.metric_collection_interval, chosen.ws_max_connections, chosen.ws_heartbeat_interval) == (0.1, 1000, 15)
    assert (chosen.hub_public_url, chosen.api_workers, chosen.reports_rate, chosen.report_dedupe_seconds) == (None, 1, 2000, 86_400)
    assert (chosen.obs_base_currency, chosen.obs_currency_parity, chosen.obs_mark) == ("USD", {}, "touch")
    assert (chosen.obs_day_zone, chosen.obs_periods_per_year) == (ZoneInfo("UTC"), 365)
    assert (chosen.retention_metrics_1s, chosen.retention_metrics_1m, chosen.retention_metrics_1h) == (14, 90, 730)
    assert (chosen.retention_alerts, chosen.retention_reports) == (730, 730)
    assert [
        str(limits)
        for limits in (
            chosen.alert_cpu, chosen.alert_memory, chosen.alert_disk, chosen.alert_writer_lag, chosen.alert_observer_lag,
            chosen.alert_strategy_silent, chosen.alert_reject_rate,
        )
    ] == ["80/90", "80/90", "90/95", "10000/100000", "10000/100000", "60/300", "0.05/0.2"]  # fmt: skip


def test_values_are_parsed() -> None:
    chosen = settings(
        ALERT_DISK="1/2.5", OBS_CURRENCY_PARITY="USDT=USD, USDC=USD", OBS_DAY_ZONE="Europe/Berlin", OBS_BASE_CURRENCY="USDT", OBS_MARK="mid"
    )
    assert (chosen.alert_disk.warning, chosen.alert_disk.critical) == (Decimal(1), Decimal("2.5"))
    assert chosen.obs_currency_parity == {"USDT": "USD", "USDC": "USD"}
    assert (chosen.obs_day_zone, chosen.obs_base_currency, chosen.obs_mark) == (ZoneInfo("Europe/Berlin"), "USDT", "mid")
    assert settings(HUB_PUBLIC_URL="https://hub.example.com/tick/wire/").hub_public_url == "https://hub.example.com/tick/wire"


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("METRIC_COLLECTION_INTERVAL", "0.1", "10"), ("RETENTION_REPORTS", "0", "999999999")],
)
def test_ends_of_a_range_are_valid(name: str, lowest: str, highest: str) -> None:
    for value in (lowest, highest):
        assert getattr(settings(**{name: value}), name.lower()) == float(value)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("METRIC_COLLECTION_INTERVAL", "0.05", "0.1"), ("METRIC_COLLECTION_INTERVAL", "11", "10"),
        ("METRIC_COLLECTION_INTERVAL", "nan", ""), ("WS_MAX_CONNECTIONS", "0", ""), ("HUB_PUBLIC_URL", "hub.example.com", "https://"),
        ("HUB_PUBLIC_URL", "https://u:secret@hub.example.com", "without user"), ("HUB_PUBLIC_URL", "https://", "https://hub.example.com"),
        ("HUB_PUBLIC_URL", "https://hub.example.com/?key=1", "without user"), ("HUB_PUBLIC_URL", "https://hub.example.com/#a", ""),
        *(("HUB_PUBLIC_URL", f"https://{host}", "without user") for host in ("a;b.example", "a'b.example", "a,b", "hüb.example")),
        ("REPORTS_RATE", "0", ""), ("REPORT_DEDUPE_SECONDS", "0", ""), ("OBS_BASE_CURRENCY", "usd", "USDT"),
        ("OBS_CURRENCY_PARITY", "USDT", "USDT=USD"), ("OBS_CURRENCY_PARITY", "USD=USD", "USDT=USD"),
        ("OBS_CURRENCY_PARITY", "USDT=USD,USDT=EUR", "more than once"), ("OBS_CURRENCY_PARITY", "USDT=USD,USDC=USDT", "both sides"),
        ("OBS_DAY_ZONE", "Mars/Olympus", "Europe/Berlin"), ("OBS_DAY_ZONE", "../etc/passwd", ""), ("OBS_MARK", "last", ""),
        ("ALERT_CPU", "80", "WARNING/CRITICAL"), ("ALERT_CPU", "90/80", "warning < critical"),
        ("ALERT_DISK", "90/90", "warning < critical"), ("ALERT_CPU", "0/80", "0 < warning"),
        ("ALERT_REJECT_RATE", "٠.٠٥/0.2", "WARNING/CRITICAL"), ("RETENTION_METRICS_1S", "-1", ""),
    ],
)  # fmt: skip
def test_invalid_value_is_named(name: str, value: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(**{name: value})
    assert set(caught.value.problems) == {name}
    assert text in caught.value.problems[name]
    assert "secret" not in str(caught.value)
