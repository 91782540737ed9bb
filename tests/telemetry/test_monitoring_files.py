"""The alert rules and the board: they parse, ask for metrics that exist, and lead to run-books."""

from __future__ import annotations

import json
import re
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.promtool import needs_promtool, promtool
from xclaim.telemetry.instruments import SHAPES, Shape
from xclaim.telemetry.prometheus import GAUGES, NAMES

ROOT = Path(__file__).parents[2]
MONITORING = Path(str(files("xclaim.telemetry") / "monitoring"))
ALERTS = MONITORING / "alerts.yml"
BOARD: dict[str, Any] = json.loads((MONITORING / "board.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
# Read without YAML, which the environments of the core do not have.
EXPRESSIONS = re.findall(r"^ +expr: (>\n(?: {10}.+\n)+|.+\n)", ALERTS.read_text(), re.MULTILINE)


def prometheus_names(shape: Shape) -> list[str]:
    """Return what Prometheus calls an instrument of OpenTelemetry."""
    unit = {"s": "_seconds"}.get(shape.unit, "")  # those in braces are no units
    name = shape.name.replace(".", "_") + unit
    if shape.buckets is None:
        return [f"{name}_total"]
    return [f"{name}_bucket", f"{name}_sum", f"{name}_count"]


EXPOSED = {*NAMES, *(name for shape in SHAPES.values() for name in prometheus_names(shape))}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:xclaim|messaging)_\w+\b", without_labels(expression)))


def without_labels(expression: str) -> str:
    bare = re.sub(r"\{[^}]*\}", "", expression)
    return re.sub(r"\b(?:by|without) \([^)]*\)", "", bare)


def sections(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_alert_asks_for_metrics_that_exist() -> None:
    assert len(EXPRESSIONS) == ALERTS.read_text().count("- alert: ")
    for expression in EXPRESSIONS:
        assert metrics_in(expression) or "node_textfile_mtime_seconds" in expression
        assert metrics_in(expression) <= EXPOSED


def test_the_alerts_are_yaml_and_each_says_how_bad_it_is_and_where_its_run_book_is() -> None:
    yaml = pytest.importorskip("yaml", reason="the environments of the core have no YAML")
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]

    for rule in rules:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]


def test_each_run_book_is_a_section_of_a_page() -> None:
    runbooks = re.findall(r"^ +runbook: (\S+)#(\S+)$", ALERTS.read_text(), re.MULTILINE)

    assert len(runbooks) == len(EXPRESSIONS)
    for page, section in runbooks:
        assert section in sections(ROOT / page)


def test_each_alert_is_told_of_on_the_page() -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()

    for alert in re.findall(r"- alert: (\w+)", ALERTS.read_text()):
        assert f"`{alert}`" in page


def test_each_metric_is_on_the_page_with_what_it_is() -> None:
    page = (ROOT / "docs" / "operations" / "monitoring.md").read_text()

    for gauge in GAUGES:
        assert f"| `{gauge.name}` | `queue` | {gauge.text} |" in page
    for shape in SHAPES.values():
        assert re.search(rf"\| `{shape.name}` \| .* \| {re.escape(shape.description)} \|", page)
    assert {*re.findall(r"^\| `(xclaim_\w+)` \| ", page, re.MULTILINE)} >= {*NAMES}


def test_every_alert_has_a_test() -> None:
    tested = (Path(__file__).parent / "alerts_test.yml").read_text()

    for alert in re.findall(r"- alert: (\w+)", ALERTS.read_text()):
        assert f"alertname: {alert}\n        exp_alerts:\n" in tested


@needs_promtool
def test_promtool_takes_the_alerts() -> None:
    checked = promtool("check", "rules", str(ALERTS))

    assert checked.returncode == 0, checked.stderr
    assert f"{len(EXPRESSIONS)} rules found" in checked.stdout


@needs_promtool
def test_the_alerts_fire_where_they_should_and_nowhere_else(tmp_path: Path) -> None:
    shutil.copy(ALERTS, tmp_path)
    shutil.copy(Path(__file__).parent / "alerts_test.yml", tmp_path)

    tested = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)

    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_the_tests_of_the_alerts_can_fail(tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(ALERTS.read_text().replace("> 900", "> 90000"))
    shutil.copy(Path(__file__).parent / "alerts_test.yml", tmp_path)

    tested = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)

    assert tested.returncode != 0
    assert "XclaimQueueStalled" in tested.stdout + tested.stderr


def test_the_board_says_what_it_needs_and_its_panels_lie_beside_each_other() -> None:
    assert BOARD["title"] == BOARD["uid"] == "xclaim"
    assert BOARD["schemaVersion"] >= 36
    assert [each["name"] for each in BOARD["templating"]["list"]] == ["datasource", "job", "queue"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_asks_for_metrics_that_exist_of_the_chosen_source(panel: dict[str, Any]) -> None:
    assert panel["description"]
    assert panel["datasource"]["uid"] == "${datasource}"
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        assert metrics_in(target["expr"])
        assert metrics_in(target["expr"]) <= EXPOSED


def test_the_choices_of_the_board_are_labels_of_metrics_that_exist() -> None:
    asked = [
        each["query"]["query"] for each in BOARD["templating"]["list"] if each["type"] == "query"
    ]

    assert asked == ["label_values(xclaim_up, job)", "label_values(xclaim_backlog, queue)"]


@needs_promtool
def test_promtool_takes_the_expressions_of_the_board(tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in PANELS for target in panel["targets"]]
    rules = [
        f"      - record: board:{number}\n        expr: {json.dumps(filled(expression))}\n"
        for number, expression in enumerate(expressions)
    ]
    (tmp_path / "board.yml").write_text("groups:\n  - name: board\n    rules:\n" + "".join(rules))

    checked = promtool("check", "rules", "board.yml", folder=tmp_path)

    assert checked.returncode == 0, checked.stderr
    assert f"{len(expressions)} rules found" in checked.stdout


def filled(expression: str) -> str:
    """Return the expression as Grafana sends it."""
    return (
        expression.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$queue", ".*")
    )
