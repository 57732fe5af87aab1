"""The Ansible role as files: its variables, its example, its modules (test_fleet_ansible.py runs it)."""

import re
from pathlib import Path
from typing import Any

import yaml

from gate.config import parse_config

ANSIBLE = Path(__file__).parents[2] / "deploy" / "ansible"
ROLE = ANSIBLE / "roles" / "health_gate"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def variables(text: str) -> set[str]:
    return set(re.findall(r"\bhealth_gate_\w+", text))


def test_every_variable_is_explained_and_used() -> None:
    files = [path for path in ROLE.rglob("*") if path.is_file() and path.parent.name != "defaults"]
    used = variables("".join(path.read_text("utf-8") for path in files))
    registered = {task["register"] for task in read(ROLE / "tasks" / "main.yml") if "register" in task}
    assert used - registered == read(ROLE / "defaults" / "main.yml").keys()


def test_the_example_uses_variables_that_there_are() -> None:
    example = ANSIBLE / "inventory.example.yml"
    assert variables(example.read_text("utf-8")) <= read(ROLE / "defaults" / "main.yml").keys()


def test_the_example_is_a_configuration_of_a_gate() -> None:
    gates = read(ANSIBLE / "inventory.example.yml")["gates"]
    for name, host in gates["hosts"].items():
        sections = {section: dict(values) for section, values in gates["vars"]["health_gate_config"].items()}
        for section, own in host["health_gate_own"].items():
            sections[section] |= own
        assert parse_config(name, sections).gate.id == name


def test_only_what_every_ansible_has_is_used() -> None:
    tasks = [*read(ROLE / "tasks" / "main.yml"), *read(ROLE / "handlers" / "main.yml")]
    modules = {key for task in tasks for key in task if "." in key}
    assert len(modules) > 5
    assert {module.rpartition(".")[0] for module in modules} == {"ansible.builtin"}


def test_nothing_is_restarted_before_the_check_has_accepted_the_configuration() -> None:
    tasks = {task["name"]: task for task in read(ROLE / "tasks" / "main.yml")}
    names = list(tasks)
    assert tasks["Configuration"]["ansible.builtin.template"]["validate"] == "gate check-config --config %s"
    assert (
        names.index("Configuration")
        < names.index("Restarts before the examination")
        < names.index("Examination")
    )
