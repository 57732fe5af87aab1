"""Alerts and dashboard: each name and label in them is told by gate or centre, and the rules do their job."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pytest import mark, raises

from central.metrics import GATE_STATES, Metrics
from central.store import AlarmKind
from gate.app.metrics import METRICS, Passage, Type
from gate.core.events import Outcome, Result
from gate.core.inputs import Device
from gate.core.mode import Mode
from gate.core.policy import Verdict
from tests.brokers import require

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = sorted((DEPLOY / "prometheus").glob("*.rules.yml"))
RULE_TESTS = sorted((DEPLOY / "prometheus").glob("*.test.yml"))
DASHBOARD = DEPLOY / "grafana" / "health-gates.json"

FUNCTIONS = {
    "count", "histogram_quantile", "increase", "max", "max_over_time", "min", "rate", "sum", "time", "vector",
}  # fmt: skip
WORDS = {"and", "or", "unless"}
EVERYWHERE = {"instance", "job"}  # labels that Prometheus adds
VALUES: dict[tuple[str, str], set[str]] = {
    ("gate_mode", "mode"): set(Mode),
    ("gate_device_up", "device"): set(Device),
    ("gate_passages_total", "kind"): set(Passage),
    ("gate_readings_total", "outcome"): {"ok"},
    ("gate_visits_decided_total", "verdict"): {verdict.name.lower() for verdict in Verdict},
    ("gate_visits_closed_total", "result"): set(Result),
    ("gate_commands_total", "outcome"): set(Outcome),
    ("central_gates", "state"): set(GATE_STATES),
    ("central_alarms_standing", "kind"): set(AlarmKind),
}


@cache
def told() -> dict[str, frozenset[str]]:
    """Return every series that gate and centre tell, with its labels; taken from the exporters themselves."""
    series: dict[str, frozenset[str]] = {"up": frozenset()}
    for metric in METRICS:
        names = histogram(metric.name) if metric.type is Type.HISTOGRAM else {metric.name: set()}
        series |= {name: frozenset({*metric.labels, *more}) for name, more in names.items()}
    centre = Metrics()
    centre.alarms_stand([])
    centre.gates_are([])
    for family in centre.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        names = histogram(name) if family.type == "histogram" else {name: set()}
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        series |= {name: frozenset({*labels, *more}) for name, more in names.items()}
    return series


def histogram(name: str) -> dict[str, set[str]]:
    return {f"{name}_bucket": {"le"}, f"{name}_sum": set(), f"{name}_count": set()}


def problems(expression: str) -> list[str]:
    """Return what in an expression of PromQL nobody tells: series, labels, values of labels."""
    found = []
    selectors = re.findall(r"([a-z_]+)\s*\{([^}]*)\}", expression)
    for name, matchers in selectors:
        for label, how, value in re.findall(r"(\w+)\s*(=~|!~|!=|=)\s*\"([^\"]*)\"", matchers):
            found += wrong_label(name, label, value.split("|") if "~" in how else [value])
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\"[^\"]*\"", " ", expression)
    grouped = re.findall(r"\b(?:by|on|without|group_left)\s*\(([^)]*)\)", bare)
    bare = re.sub(r"\b(?:by|on|without|group_left)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"[A-Za-z_]\w*(?!\w|\s*\()", bare)
    series = [name for name in names if name not in WORDS]
    found += [f"{name}: nobody tells it" for name in series if name not in told()]
    known = EVERYWHERE.union(*(told().get(name, frozenset()) for name in series))
    labels = {label.strip() for group in grouped for label in group.split(",")}
    found += [f"{label}: none of {series} has it" for label in labels - known]
    functions = set(re.findall(r"([A-Za-z_]\w*)\s*\(", bare))
    return found + [f"{name}(): not in the list of this test" for name in functions - FUNCTIONS - WORDS]


def wrong_label(name: str, label: str, values: list[str]) -> Iterator[str]:
    if label in EVERYWHERE:
        return
    if label not in told().get(name, frozenset()):
        yield f"{name} has no label {label}"
        return
    known = VALUES.get((name, label))
    if known is None or not set(values) <= known:
        yield f"{name}: {label} is never {values}"


def rules(path: Path) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(path.read_text("utf-8"))["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for path in RULES for rule in rules(path)]


def test_rules_ask_for_what_is_told() -> None:
    assert {rule["alert"]: problems(rule["expr"]) for rule in alerts() if problems(rule["expr"])} == {}
    assert len(RULES) == 2


def test_the_dashboard_asks_for_what_is_told() -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    targets = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    assert {expression: problems(expression) for expression in targets if problems(expression)} == {}
    assert len(targets) > 20
    assert len({panel["id"] for panel in panels}) == len(panels)


@mark.parametrize(
    ("expression", "words"),
    [
        ("gate_backlog_record > 0", "nobody tells it"),
        ('gate_mode{mode="broken"} == 1', "never"),
        ('gate_mode{state="fault"} == 1', "no label"),
        ('gate_device_up{device=~"camera|lamp"} == 0', "never"),
        ("sum by (colour) (rate(gate_passages_total[5m]))", "colour"),
        ("gate_evidence_to_relay_seconds > 1", "nobody tells it"),
        ("gate_passages > 1", "nobody tells it"),
        ('central_gates{state="away"} > 0', "never"),
        ("rates(central_records_total[5m])", "not in the list"),
    ],
)
def test_the_check_itself_finds_what_is_wrong(expression: str, words: str) -> None:
    assert words in " ".join(problems(expression))


def test_everything_that_is_told_is_shown_or_watched() -> None:
    """A figure that nobody looks at is not worth telling; those that only explain others are named here."""
    text = DASHBOARD.read_text("utf-8") + "".join(path.read_text("utf-8") for path in RULES)
    ours = {name.removesuffix("_bucket") for name in told() if not re.search("_(sum|count)$|^up$", name)}
    unused = {name for name in ours if name not in text}
    assert unused == {
        "gate_code_frames_total", "gate_unlocks_total", "gate_commands_total", "gate_records_total",
        "gate_broker_reconnects_total", "gate_ledger_records", "central_checkpoints_total",
        "central_strays_total",
    }  # fmt: skip


def test_every_alert_says_what_and_what_to_do() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    for rule in alerts():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "do"}, rule["alert"]
        assert all(rule["annotations"].values())


def test_alerts_name_commands_that_there_are() -> None:
    from central.cli import main as central
    from gate.cli import main as gate

    programs: dict[str, Any] = {"gate": gate, "central": central}
    text = " ".join(rule["annotations"]["do"] for rule in alerts())
    named = re.findall(r"\b(gate|central) ([a-z]+)\b(?: ([a-z]+))?", text)
    commands = {(program, word) for program, word, _ in named if word in programs[program].commands}
    assert {("gate", "doctor"), ("central", "alarms"), ("central", "status")} <= commands


# With Prometheus' own tool


def promtool(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = require("promtool", "prometheus")
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.example.yml"),
        ("test", "rules", *(path.name for path in RULE_TESTS)),
    ],
)
def test_promtool_is_content(arguments: tuple[str, ...], tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    (folder / "gates.example.yml").rename(folder / "gates.yml")
    done = promtool(*arguments, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr


def test_the_dashboard_speaks_promql(tmp_path: Path) -> None:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    targets = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    asked = [{"record": f"panel:{at}", "expr": expression} for at, expression in enumerate(targets)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": asked}]}))
    done = promtool("check", "rules", "rules.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(targets)} rules found" in done.stdout


def test_the_tests_of_the_rules_can_fail(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    path = folder / "gate.rules.yml"
    path.write_text(path.read_text("utf-8").replace("for: 2m", "for: 20m"), "utf-8")
    assert promtool("test", "rules", "alerts.test.yml", folder=folder).returncode == 1


def test_the_alerts_that_matter_most_are_tested() -> None:
    text = "".join(path.read_text("utf-8") for path in RULE_TESTS)
    tested = set(re.findall(r"alertname: (\w+)", text))
    assert tested <= {rule["alert"] for rule in alerts()}
    assert tested >= {
        "GateSilent", "GateBacklogGrows", "GateLedgerNotWritable", "GateThermometerFailed",
        "GateCertificateEndsSoon", "CentreGateLost", "CentreAlarmStands",
    }  # fmt: skip


def test_an_unknown_function_is_not_overlooked() -> None:
    with raises(AssertionError):
        assert problems("deriv(gate_backlog_records[5m])") == []
