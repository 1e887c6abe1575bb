"""The sizing of a deployment. The expected values are the arithmetic of the documented example."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scripts.sizing import LAZY_RELAY_US, Load, main, sizing

TEN_MILLION = Load(clients=10_000_000, prices=5, sends=1, bus=2000)


def test_example_of_ten_million_clients() -> None:
    found = sizing(TEN_MILLION)
    assert found.cores == pytest.approx(94)
    assert found.hubs == 157
    assert found.clients_per_hub == pytest.approx(63_694, abs=1)
    assert found.descriptors_per_hub == 127_589
    assert found.memory_bytes == pytest.approx(105.2e9, rel=1e-3)
    assert found.network_bytes_per_s == pytest.approx(11.41e9)
    assert found.network_cards == 14
    assert found.redis_bytes_per_s == pytest.approx(75.674e6)
    assert found.redis_nodes == 1
    assert found.storm_core_seconds == pytest.approx(2320)
    assert found.returning_core_seconds == pytest.approx(6300)
    assert (round(found.storm_seconds), round(found.returning_seconds)) == (25, 67)
    assert found.ports_per_hub == 3


def test_many_bus_messages_need_several_nodes_and_cost_every_hub() -> None:
    found = sizing(replace(TEN_MILLION, bus=50_000, relay_us=LAZY_RELAY_US))
    assert found.redis_bytes_per_s == pytest.approx(1.89e9, rel=1e-2)
    assert found.redis_nodes == 3
    assert found.relay_share == pytest.approx(0.075)
    assert found.efficiency == pytest.approx(94 / (94 + 157 * 0.045))


@pytest.mark.parametrize(("bus", "relay_us", "share"), [(4200, 7.1, 0.0497), (33_000, 0.9, 0.0495)])
def test_relay_share_of_five_percent_has_the_documented_rates(bus: float, relay_us: float, share: float) -> None:
    assert sizing(replace(TEN_MILLION, bus=bus, relay_us=relay_us)).relay_share == pytest.approx(share, abs=1e-4)


def test_stalled_clients_take_the_outbox_and_the_kernel() -> None:
    more = sizing(replace(TEN_MILLION, stalled=0.01)).memory_bytes - sizing(TEN_MILLION).memory_bytes
    assert more == pytest.approx(100_000 * (43 * 1024 + 262_144))


@pytest.mark.parametrize("changed", [{"clients": 0}, {"sends": 0.0}])
def test_load_without_clients_or_sends_is_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        sizing(replace(TEN_MILLION, **changed))  # type: ignore[arg-type]


def test_command_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--clients", "10000000", "--prices-per-s", "5", "--sends-per-s", "1", "--bus-per-s", "2000"])
    printed = capsys.readouterr().out
    assert "| CPU | 94 cores: 157 hubs at 60%, 63,694 clients each |" in printed
    assert "| network to clients | 11.41 GB/s, 14 cards at 70% |" in printed


def test_command_refuses_a_load_without_clients(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--clients", "0", "--prices-per-s", "5", "--sends-per-s", "1", "--bus-per-s", "2000"])
    assert ended.value.code == 2
    assert "clients and sends must be above 0" in capsys.readouterr().err
