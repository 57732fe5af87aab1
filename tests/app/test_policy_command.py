"""`gate policy`: the plans listed, shown whole, checked, and explained in words."""

import re
import tomllib
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gate.app.explaining import as_toml, explain, rule_ids
from gate.cli.policies import policy
from gate.config import load_policy, policy_names
from gate.core.evidence import Direction
from gate.core.policy import Disposition, FeverBand, Policy, policy_hash

NAMES = policy_names()


def run(*words: str) -> Result:
    return CliRunner().invoke(policy, words)


def columns(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


# --- list


def test_the_list_is_aligned() -> None:
    head, *lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    ends = {columns(line) for line in (head, *lines[1:])} - {columns(head)}
    assert len(ends) == 1  # the hash comes last and is as long everywhere
    for line, name in zip(lines, NAMES, strict=True):
        plan = load_policy(name)
        assert str(plan.version) in line.split()
        assert plan.title_zh in line
        assert plan.title_en in line
        assert line.endswith(policy_hash(plan)[:12])
        before = line[: line.index(plan.title_en)]
        assert columns(before) == columns(head[: head.index("plan")])


# --- show


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_shown_reads_back_to_the_same(name: str, tmp_path: Path) -> None:
    file = tmp_path / "shown.toml"
    file.write_text(run("show", name).stdout, "utf-8")
    assert load_policy(str(file)) == load_policy(name)
    assert policy_hash(load_policy(str(file))) == policy_hash(load_policy(name))
    assert "extends" not in tomllib.loads(file.read_text("utf-8"))


def test_a_text_that_needs_care_reads_back(tmp_path: Path) -> None:
    title = 'a "b" \\ \x7f\t\x01\n’好 \U0001f637'
    plan = replace(load_policy("sealed-area"), title_en=title, tasks=(), utc_offset_min=-300)
    file = tmp_path / "shown.toml"
    file.write_text(as_toml(plan), "utf-8")
    assert load_policy(str(file)) == plan


# --- check


def test_all_plans_that_come_with_the_gate_are_in_order() -> None:
    result = run("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        f"ok  {name}  version {load_policy(name).version}  {policy_hash(load_policy(name))[:12]}"
        for name in NAMES
    ]


def test_plans_with_something_wrong(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text('extends = "grid"\nversion = 0\n[mask]\nrequird = true\n')
    result = run("check", "grid", str(file), "gird", "clinic", str(tmp_path / "none.toml"))
    assert result.exit_code == 78
    assert [line.split()[1] for line in result.stdout.splitlines()] == ["grid", "clinic"]
    assert [line.partition(": ")[2].partition(" (")[0] for line in result.stderr.splitlines()] == [
        "version: Input should be greater than or equal to 1",
        "mask.requird: unknown key; did you mean 'required'?",
        "no such plan; did you mean 'grid'?",
        "no such file; name another, or begin with a copy of deploy/gate.example.toml",
    ]


def test_a_task_that_would_never_be_called_for(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        'extends = "grid"\n[[tasks]]\nrule = "X-1"\nzh = "做"\nen = "Do"\n'
        'after = ["temperature_fver", "full"]\n'
    )
    result = run("check", str(file))
    assert result.exit_code == 78
    assert result.stderr == (
        f"policy {file}: tasks, X-1: after: 'temperature_fver' is no reason of a finding\n"
    )


# --- explain


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_explained_in_straight_columns(name: str, lang: str) -> None:
    lines = run("explain", name, "--lang", lang).stdout.splitlines()
    plan = load_policy(name)
    assert lines[0] == (plan.title_zh if lang == "zh" else plan.title_en)
    assert lines[1].endswith(policy_hash(plan)[:12])
    gate, people = lines.index("", 3), len(lines)
    judged, tasks = lines[4:gate], lines[gate + 2 : people]
    assert {line.split()[0] for line in judged + tasks} == rule_ids(plan)
    assert [line.split()[0] for line in tasks] == sorted(
        (task.rule for task in plan.tasks), key=[line.split()[0] for line in tasks].index
    )
    starts = {columns(re.match(r"  \S+ +.*?  +", line)[0]) for line in judged}  # type: ignore[index]  # all match
    assert len(starts) == 1
    assert not any("{" in line or "None" in line for line in lines)


def test_the_own_rules_of_a_plan_come_first_and_then_those_that_it_follows() -> None:
    lines = run("explain", "sealed-area", "--lang", "en").stdout.splitlines()
    judged = [line.split()[0] for line in lines[4 : lines.index("", 3)]]
    families = list(dict.fromkeys(rule.partition("-")[0] for rule in judged))
    assert families == ["SA", "TR", "AL", "CH", "CO"]
    assert judged[:6] == ["SA-2", "SA-3", "SA-4", "SA-5", "SA-5", "TR-1"]


def test_what_lies_outside_the_gate_is_said() -> None:
    assert "What people have to do: outside the gate's reach" in run("explain", "grid", "--lang", "en").stdout
    assert "须由人员落实的事项：闸机管不到" in run("explain", "grid").stdout


def sentences(plan: Policy, lang: str = "en") -> list[str]:
    return [line.strip() for line in explain(plan, lang).splitlines()]


def test_bands_in_words() -> None:
    county = "\n".join(sentences(load_policy("county-hall")))
    assert "37.30 to 37.50 °C and no other symptom: refused, observe at home" in county
    assert (
        "above 37.50 °C, or from 37.30 °C with another symptom: refused, isolation zone, call 120" in county
    )
    plan = load_policy("county-hall")
    bands = (
        FeverBand("X-1", Disposition.OBSERVE_AT_HOME, 3750),
        FeverBand("X-2", Disposition.FEVER_CLINIC, 3800),
        FeverBand("X-10", Disposition.NONE),
    )
    three = sentences(replace(plan, temperature=replace(plan.temperature, bands=bands)))
    assert [line.split()[0] for line in three if line.startswith("X-")] == ["X-1", "X-2", "X-10"]
    assert "X-2   fever              the second time above 37.50 to 38.00 °C: refused, fever clinic" in three
    assert "X-10  fever              the second time above 38.00 °C: refused" in three


def test_what_a_plan_does_not_ask_for_is_not_explained() -> None:
    plan = load_policy("county-hall")
    least = replace(
        plan,
        code=replace(plan.code, required=False),
        travel=replace(plan.travel, required=False),
        mask=replace(plan.mask, required=False),
        registration=replace(plan.registration, fields=()),
        temperature=replace(plan.temperature, directions=(Direction.OUT,)),
        tasks=(),
    )
    for lang, unsaid in (("en", ["travel", "mask", "registration"]), ("zh", ["行程码", "口罩", "登记"])):
        lines = sentences(least, lang)
        assert not any(word in line for line in lines for word in unsaid)
    assert any("not required; yellow, red or forged: refused" in line for line in sentences(least))
    assert any("on the way out: below 37.30" in line for line in sentences(least))


def test_no_such_plan() -> None:
    for words in (["show", "gird"], ["explain", "gird"]):
        result = run(*words)
        assert result.exit_code == 78
        assert "did you mean 'grid'?" in result.stderr
    assert run("explain", "grid", "--lang", "fr").exit_code == 2
