"""The report of the fan-out: ratios, goals, reasons, and the measured part of a document."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench import document, report
from tests.bench.client import Plan
from tests.bench.fanout import Options, Run
from tests.bench.figures import GOALS, Results, Spread
from tests.bench.measure import Figures, Session
from tests.bench.report import RECEIVE_HEADING, Report
from tests.bench.servers import PEERS
from tests.bench.shapes import RECEIVE_PEERS, RECEIVE_SHAPES, SHAPES

OPTIONS = Options(("a",), ("tickwire", "node"), 2, 1.0)


def runs(shape: str = "a", figure: str = "cpu_us", **values: list[float]) -> list[Run]:
    """Runs with one figure: peer -> its value of each round."""
    return [Run(shape, peer, number, Figures({figure: value})) for peer, row in values.items() for number, value in enumerate(row)]


def made(found: list[Run], receive: list[Run] | None = None, missing: dict[str, str] | None = None) -> Report:
    return Report(Results(found), Results(receive or []), OPTIONS, {"machine": "test"}, missing or {})


def cells(text: str, label: str) -> list[str]:
    [line] = [line for line in text.splitlines() if line.startswith(f"| {label} ")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    results = Results(runs(tickwire=[1, 2, 9], node=[2, 8, 3]))
    assert results.ratio("a", "cpu_us", "node") == Spread(0.25, 0.5, 3.0)


def test_round_of_one_peer_alone_has_no_ratio() -> None:
    results = Results([*runs(tickwire=[1]), Run("a", "node", 1, Figures({"cpu_us": 2.0}))])
    assert results.ratio("a", "cpu_us", "node") is None


def test_table_has_a_row_per_peer_with_its_ratio_and_the_other_column() -> None:
    text = made(runs(tickwire=[1.0, 3.0], node=[4.0, 4.0]), runs(tickwire=[0.5], node=[2.0])).text()
    assert cells(text, "Tickwire") == ["Tickwire", "1.00 / **2.00** / 3.00", "–", "**0.50**"]
    assert cells(text, "Socket.IO on Node") == ["Socket.IO on Node", "**4.00**", "0.50", "**2.00**"]
    assert RECEIVE_HEADING in text


def test_peer_and_column_that_are_missing_have_their_reasons_below_the_table() -> None:
    text = made(runs(tickwire=[1.0]), missing={"nchan": "nginx is not installed", RECEIVE_HEADING: "one CPU"}).text()
    assert "- not measured: nchan on nginx: nginx is not installed" in text
    assert f"- not measured: {RECEIVE_HEADING}: one CPU" in text
    assert cells(text, "Tickwire")[-1] == "–"


def test_fault_of_a_peer_is_a_note_and_only_ours_fail_the_run() -> None:
    faulty = [Run("a", peer, 0, Figures(faults=["received 1 of 2 deliveries"])) for peer in ("node", "tickwire_python")]
    results = Results(faulty)
    assert results.faults == ["(a) tickwire_python, round 1: received 1 of 2 deliveries"]
    assert "- Socket.IO on Node, round 1: received 1 of 2 deliveries" in made(faulty).text()


@pytest.mark.parametrize(("ours", "verdict"), [([0.9, 1.8, 9.0], "reached"), ([0.9, 1.9, 9.0], "NOT reached"), ([], "not measured")])
def test_goal_compares_the_median_with_its_bound(ours: list[float], verdict: str) -> None:
    text = made(runs(tickwire=ours, node=[4.0, 4.0, 4.0])).text()
    assert cells(text, "(a) CPU per delivery ÷ Node's")[-1] == verdict


def test_goal_of_the_python_loop_compares_that_peer() -> None:
    text = made(runs(tickwire=[1.0], tickwire_python=[5.0], floor=[4.0])).text()
    assert cells(text, "(a) CPU per delivery of the Python loop ÷ the Python floor's")[1:] == ["1.2", "**1.25**", "NOT reached"]


def test_every_goal_and_column_names_peers_of_its_shape() -> None:
    for goal in GOALS:
        assert {goal.of, goal.against or goal.of} <= set(SHAPES[goal.shape].peers)
    assert {peer for shape in SHAPES.values() for peer in shape.peers} == set(PEERS)
    assert set(RECEIVE_SHAPES) <= set(SHAPES)
    assert set(RECEIVE_PEERS) <= set(PEERS)


def test_report_is_read_back_from_its_json(tmp_path: Path) -> None:
    before = made(runs(tickwire=[1.0, 3.0], node=[4.0, 4.0]), runs(tickwire=[0.5]), {"bun": "node is not installed"})
    file = tmp_path / "fanout.json"
    file.write_text(before.json())
    assert report.read(file).text() == before.text()


def test_summary_has_the_medians_beside_node() -> None:
    found = [*runs(tickwire=[1.0, 3.0], node=[4.0]), *runs(figure="p99_ms", tickwire=[7.0], node=[9.0])]
    fast = [*runs("s", tickwire=[0.5]), *runs("s", "deliveries_per_s", tickwire=[2e6])]
    text = made([*found, *fast, *runs("d", "uss_kib", tickwire=[3.14])]).summary()
    assert cells(text, "500 clients in one room, 100 messages/s")[1:] == ["2.00 µs", "7.00 ms", "4.00 µs, 9.00 ms"]
    assert cells(text, "saturation: 500 clients in one room, as fast as it goes")[1:] == ["0.50 µs, 2,000,000 deliveries/s", "", ""]
    assert "An idle client takes 3.14 KiB of the hub's memory." in text
    disturbed = replace(made(found), machine={report.OTHERS: "170 % of a CPU in the median run"}).summary()
    assert disturbed.endswith("Other programs used 170 % of a CPU in the median run.")


def test_disturbed_runs_are_one_note() -> None:
    disturbed = [Run("a", peer, 0, Figures(notes=["disturbed: other programs used 30 % of a CPU"])) for peer in ("tickwire", "node")]
    text = made([*runs(tickwire=[1.0]), *disturbed]).text()
    assert [line for line in text.splitlines() if "disturbed" in line] == ["- disturbed in round: Tickwire 1; Socket.IO on Node 1"]


def test_document_keeps_the_text_around_its_measured_part(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"# Title\n\n{document.BEGIN}\nold\n{document.END}\n\nend\n")
    for text in ("new\n", "newer\n"):
        document.write(text, file)
        assert file.read_text() == f"# Title\n\n{document.BEGIN}\n\n{text}\n{document.END}\n\nend\n"


def test_document_without_marks_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# Title\n")
    with pytest.raises(ValueError, match="no <!-- measured: begin -->"):
        document.write("new", file)


def test_stalling_clients_and_one_other_have_an_instrument_of_their_own() -> None:
    plans = SHAPES["e"].plans(["A", "B"], PEERS["tickwire"], 1)
    assert len(plans) == 501
    assert [plan.pairs for plan in plans if plan.stalls] == [("A", "B")] * 50
    assert plans[-1].pairs == ("B",)
    assert not plans[-1].stalls


def test_plan_of_a_plain_peer_names_its_instruments_in_the_address() -> None:
    plan = SHAPES["b"].plans([f"I{number}" for number in range(20)], PEERS["nchan"], 1)[1]
    assert (plan.steps(), plan.path.replace("{ids}", ",".join(plan.pairs))[:16]) == ([], "/sub?ids=I1,I2,I")


def test_more_pairs_than_a_request_may_have_are_several_requests() -> None:
    steps = Plan(1, "socketio", tuple(f"I{number}" for number in range(2500))).steps()
    requests = [packet for packet, answer in steps if answer == b'42["subscription_confirmed"']
    assert [request.count(b'"I') for request in requests] == [1000, 1000, 500]


class Script:
    """A server, a feed and a load generator whose figures are given."""

    def __init__(self, received: int, unequal: int = 0) -> None:
        self.published = Counter[str]()
        self.received, self.unequal = received, unequal

    def cpu(self) -> float:
        return 0.0

    def wait(self, wanted: int, seconds: float) -> bool:
        return self.received >= wanted

    def command(self, name: str) -> dict[str, object]:
        return {
            "received": self.received, "unequal": self.unequal, "problem_count": 0, "problems": [], "first": 1.0, "last": 2e10,
            "p50": 0.1, "p99": 0.2, "cpu": 0.0,
        }  # fmt: skip

    def publish(self) -> int:
        self.published.update({"A": 3, "B": 2})
        return 5


@pytest.mark.parametrize(
    ("received", "unequal", "share", "faults"),
    [
        (35, 0, 100.0, []),
        (28, 0, 80.0, ["received 28 of 35 deliveries"]),
        (35, 1, 100.0, ["1 clients without exactly the messages of their topics"]),
    ],
)
def test_share_is_of_the_published_messages_times_their_receivers(received: int, unequal: int, share: float, faults: list[str]) -> None:
    script = Script(received, unequal)
    session = Session(script, script, script, [])  # type: ignore[arg-type]
    figures = session.phase(script.publish, {"A": 5, "B": 10})
    assert (figures.values["delivered_percent"], figures.faults) == (share, faults)
