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
        "no such file; see the plans that come with the gate: gate policy list",
    ]


def test_a_folder_is_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plans.toml"
    folder.mkdir()
    for words in (["check", str(tmp_path)], ["check", str(folder)], ["explain", str(tmp_path)]):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (78, "")
        assert result.stderr == f"policy {words[1]}: a folder; name the .toml files in it one by one\n"
    # A folder that is called as a plan that comes with the gate does not stand in its way.
    (tmp_path / "grid").mkdir()
    monkeypatch.chdir(tmp_path)
    assert run("check", "grid").exit_code == 0
    assert "did you mean 'grid'?" in run("check", "gr\0id").stderr


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
    assert "须由人员落实的事项：闸机职责之外" in run("explain", "grid").stdout


@pytest.mark.parametrize("lang", ["zh", "en"])
@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_wrapped(name: str, lang: str) -> None:
    plan = load_policy(name)
    lines = run("explain", name, "--lang", lang).stdout.splitlines()
    own = [line for line in lines if re.match(r"  [A-Z]{2}-\d+  ", line)]
    assert len(lines) == len(own) + 6  # title, head, two gaps, two headings
    tasks = {task.zh if lang == "zh" else task.en for task in plan.tasks}
    assert all(any(task in line for line in own) for task in tasks)


def test_the_words_for_the_person_on_duty() -> None:
    lines = sentences(load_policy("township-routine"), "zh")
    assert "AL-3  值守人员  无法核验的项目，可人工核实并确认；确认发热或码异常的，不得放行" in lines


def test_limits_in_words() -> None:
    english, chinese = (sentences(load_policy("appointment-hall"), lang) for lang in ("en", "zh"))
    assert any("on the way in: up to 37.00 °C passes; else measured again" in line for line in english)
    assert any(line.endswith("the second time above 37.00 °C: refused, fever clinic") for line in english)
    assert any("进入：不高于37.00 °C通行；高于的复测一次，以复测为准" in line for line in chinese)
    assert any("复测高于37.00 °C：不得进入，转发热门诊" in line for line in chinese)
    english, chinese = (sentences(load_policy("township-routine"), lang) for lang in ("en", "zh"))
    assert any("on the way in: below 37.30 °C passes; else measured again" in line for line in english)
    assert any("the second time 37.30 °C and more: refused, fever clinic" in line for line in english)
    assert any("进入：低于37.30 °C通行；达到或超过的复测一次，以复测为准" in line for line in chinese)


def test_the_rule_of_an_abnormal_code() -> None:
    said = "abnormal code      yellow, red, forged or called back: refused"
    assert f"AH-5  {said}" in sentences(load_policy("appointment-hall"))
    assert f"TR-2  {said}" in sentences(load_policy("township-routine"))
    plan = load_policy("grid")
    other = replace(plan, code=replace(plan.code, abnormal_rule="X-1"))
    assert rule_ids(other) == rule_ids(plan) | {"X-1"}


def test_whom_a_suspension_and_closed_doors_concern() -> None:
    hall, sealed = load_policy("township-hall"), load_policy("sealed-area")
    assert any("everybody but staff: refused until it is resumed" in line for line in sentences(hall))
    assert any("everybody but staff: pass from 08:30 until 17:30" in line for line in sentences(hall))
    assert any("visitors and suppliers: refused until" in line for line in sentences(sealed))
    timed = replace(sealed, hours=hall.hours)
    assert any("visitors and suppliers: pass from 08:30 until 17:30" in line for line in sentences(timed))


def test_staff_who_leave_with_a_fever_and_visitors_without_a_phone() -> None:
    seen_out = "on the way out with a fever: to the person on duty, who sees them out"
    by_id = "without a phone: by ID card, if the person on duty agrees"
    county, hall = load_policy("county-office"), load_policy("township-hall")
    assert any(seen_out in line for line in sentences(county))
    assert not any(seen_out in line for line in sentences(load_policy("grid")))
    assert county.staff is not None
    coming = replace(county, staff=replace(county.staff, directions=(Direction.IN,)))
    assert not any(seen_out in line for line in sentences(coming))
    assert any(by_id in line for line in sentences(county))
    assert not any(by_id in line for line in sentences(hall))  # no phone number is asked for there


def sentences(plan: Policy, lang: str = "en") -> list[str]:
    return [line.strip() for line in explain(plan, lang).splitlines()]


def test_bands_in_words() -> None:
    county = "\n".join(sentences(load_policy("county-hall")))
    assert "37.30 to 37.50 °C and no other symptom: refused, observe at home" in county
    assert (
        "above 37.50 °C, or 37.30 °C and more with another symptom: refused, isolation zone, call 120"
        in county
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
        temperature=replace(plan.temperature, required=False),
        tasks=(),
    )
    for lang, word, said, subjects in (
        ("en", "registration", "not required", ["travel code", "mask", "health code", "temperature"]),
        ("zh", "登记", "不作要求", ["行程码", "口罩", "健康码", "体温"]),
    ):
        lines = sentences(least, lang)
        assert not any(word in line for line in lines)
        told = {
            subject for line in lines for subject in subjects if f"  {subject}  " in line and said in line
        }
        assert told == set(subjects)
        assert not any(said in line for line in sentences(plan, lang))
        assert rule_ids(least) == rule_ids(replace(plan, tasks=()))
    assert any("yellow, red, forged or called back: refused" in line for line in sentences(least))
    assert any("who is measured all the same: below 37.30 °C passes" in line for line in sentences(least))
    leaving = replace(plan, temperature=replace(plan.temperature, directions=(Direction.OUT,)))
    assert any("on the way out: below 37.30" in line for line in sentences(leaving))


def test_no_such_plan() -> None:
    for words in (["show", "gird"], ["explain", "gird"]):
        result = run(*words)
        assert result.exit_code == 78
        assert "did you mean 'grid'?" in result.stderr
    assert run("explain", "grid", "--lang", "fr").exit_code == 2
