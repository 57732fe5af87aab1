"""What the package says of itself against what the code says: dependencies, versions, man pages, scripts."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import pytest

import central.cli
import gate.cli
from gate.config import Config
from tests.brokers import require

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
# PyPI's name, and the module's where it differs, to Debian's name.
DEBIAN = {
    "alembic": "alembic",
    "apprise": "apprise",
    "opencv-python-headless": "python3-opencv",
    "psycopg[binary]": "python3-psycopg",
    "pynacl": "python3-nacl",
}
EPOCH = {"python3-numpy": "1:"}
NOT_IN_DEBIAN_13 = {"amqtt", "pyzbar"}
MODULE_OF = {"cv2": "opencv-python-headless", "nacl": "pynacl", "paho": "paho-mqtt", "zxingcpp": "zxing-cpp"}
# Needs what Debian does not have, or pictures for trying things: not a device's business.
DEMONSTRATION = {"gate/demo"}

MAN_PAGES = [ROOT / "docs/man" / name for name in ("gate.1", "gate.toml.5", "central.1")]


def debian_name(name: str) -> str:
    return DEBIAN.get(name, f"python3-{name}")


def as_debian(requirement: str) -> str:
    match = re.fullmatch(r"([\w.-]+(?:\[\w+\])?)(?:>=([\d.]+))?(?:,<\d+)?", requirement)
    assert match, f"{requirement}: a form that this test does not know"
    name = debian_name(match[1])
    return f"{name} (>= {EPOCH.get(name, '')}{match[2]})" if match[2] else name


def control() -> dict[str, dict[str, str]]:
    """Return the fields of each binary package."""
    text = re.sub(r"^#.*\n", "", (ROOT / "debian/control").read_text("utf-8"), flags=re.MULTILINE)
    found = {}
    for paragraph in text.split("\n\n"):
        pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n .*)*)", paragraph, flags=re.MULTILINE)
        values = {name: value.strip() for name, value in pairs}
        if "Package" in values:
            found[values["Package"]] = values
    return found


def relations(package: str, field: str) -> set[str]:
    words = control()[package].get(field, "").split(",")
    return {word.strip() for word in words if word.strip() and not word.strip().startswith("${")}


def extra(name: str) -> set[str]:
    return {as_debian(need) for need in PROJECT["optional-dependencies"][name]}


def test_the_gate_depends_on_what_the_project_needs_in_the_same_versions() -> None:
    needed = {as_debian(need) for need in PROJECT["dependencies"]}
    assert needed - relations("health-gate", "Depends") == set()
    # annotated-types comes with pydantic, which no gate does without; here it is imported by name.
    beyond = relations("health-gate", "Depends") - needed
    assert beyond == {"python3-annotated-types"}


def test_the_centre_depends_on_its_extra() -> None:
    of_its_own = relations("health-gate-central", "Depends") - {"health-gate (= ${binary:Version})"}
    assert of_its_own == extra("central")


def test_what_is_optional_is_only_proposed_in_the_same_versions() -> None:
    proposed = relations("health-gate", "Recommends") | relations("health-gate", "Suggests")
    missing = {
        need
        for name in ("camera", "counter", "demo", "desk", "metrics")
        for need in PROJECT["optional-dependencies"][name]
        if as_debian(need) not in proposed and need.split(">")[0] not in NOT_IN_DEBIAN_13
    }
    assert missing == set()


def third_party(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        else:
            continue
        for name in (name.partition(".")[0] for name in names):
            if name not in {*sys.stdlib_module_names, "gate", "drivers", "central"}:
                yield name


@pytest.mark.parametrize(
    ("package", "folders"), [("health-gate", ("gate", "drivers")), ("health-gate-central", ("central",))]
)
def test_every_imported_module_has_its_package(package: str, folders: tuple[str, ...]) -> None:
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    kept = [path for path in files if str(path.relative_to(ROOT).parent) not in DEMONSTRATION]
    modules = {module for path in kept for module in third_party(path)} - NOT_IN_DEBIAN_13
    packages = {debian_name(MODULE_OF.get(module, module).replace("_", "-")) for module in modules}
    said = {
        word.split()[0]
        for name in {"health-gate", package}
        for field in ("Depends", "Recommends", "Suggests")
        for word in relations(name, field)
    }
    said.add("python3-psycopg")
    assert packages - said == set()


def test_one_version_everywhere() -> None:
    first = (ROOT / "debian/changelog").read_text("utf-8").splitlines()[0]
    assert first.startswith(f"health-gate ({PROJECT['version']}) ")


def command_names(group: click.Group) -> set[str]:
    """Return "run", and "ledger tail" for each command of a group."""
    names = set()
    for name, command in group.commands.items():
        below = command.commands if isinstance(command, click.Group) else {}
        names |= {f"{name} {word}" for word in below} or {name}
    return names


def documented(page: str) -> set[str]:
    text = (ROOT / "docs/man" / page).read_text("utf-8").replace("\\-", "-")
    section = text.split(".SH COMMANDS\n")[1].split(".SH ")[0]
    names = set()
    for entry in re.findall(r"^\.TP\n\.B (.+)$", section, flags=re.MULTILINE):
        name, _, below = entry.partition(" ")
        names |= {f"{name} {word}" for word in below.split(" | ")} if below else {name}
    return names


@pytest.mark.parametrize(("page", "group"), [("gate.1", gate.cli.main), ("central.1", central.cli.main)])
def test_man_pages_name_the_commands_that_there_are(page: str, group: click.Group) -> None:
    assert documented(page) == command_names(group)


def sections() -> dict[str, Any]:
    found = {}
    for name, hint in get_type_hints(Config).items():
        kinds = [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind)]
        found[name] = kinds[0]
    return found


def documented_keys() -> dict[str, dict[str, str]]:
    text = (ROOT / "docs/man/gate.toml.5").read_text("utf-8").replace("\\-", "-")
    found: dict[str, dict[str, str]] = {}
    for part in text.split(".SH FILES")[0].split("\n.SS [")[1:]:
        name, _, body = part.partition("]\n")
        for entry in body.split(".TP\n")[1:]:
            head, _, said = entry.partition("\n")
            keys = re.findall(r"[a-z_0-9]{2,}", head.removeprefix(".BR").removeprefix(".B"))
            found.setdefault(name, {}).update(dict.fromkeys(keys, said))
    return found


def test_gate_toml_5_names_the_keys_that_there_are() -> None:
    there_are = {name: {field.name for field in fields(kind)} for name, kind in sections().items()}
    assert {name: set(keys) for name, keys in documented_keys().items()} == there_are


def test_gate_toml_5_names_the_defaults_that_there_are() -> None:
    wrong = []
    for name, kind in sections().items():
        for field in fields(kind):
            if isinstance(field.default, int | str | Path) and str(field.default):
                in_hex = (name, field.name) == ("thermometer", "address")
                value = f"0x{field.default:X}" if in_hex else str(field.default)
                said = documented_keys()[name][field.name]
                if not re.search(rf"Default [^\n]*(?<![\w.]){re.escape(value)}(?!\w)", said):
                    wrong.append(f"{name}.{field.name}: {value} is not in {said!r}")
    assert wrong == []


@pytest.mark.parametrize("page", MAN_PAGES, ids=lambda page: page.name)
def test_man_finds_no_fault_with_the_pages(page: Path) -> None:
    command = [require("man", "man-db"), "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_scripts_are_sound_shell() -> None:
    scripts = [ROOT / "deploy/deb/build", *sorted((ROOT / "debian").glob("*.post*"))]
    assert len(scripts) == 4
    command = [require("shellcheck", "shellcheck"), *map(str, scripts)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


class Builder:
    """deploy/deb/build on a machine with stand-ins first in the PATH."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "apt.log"
        for tool in ("sh", "sed", "dirname", "env", "cat"):
            (self.bin / tool).symlink_to(require(tool, "coreutils"))
        self.command("dpkg-query", 'case "$*" in *dh-python*) exit 1 ;; esac; printf installed')

    def command(self, name: str, script: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "deploy/deb/build"), *words]
        environment = {"PATH": str(self.bin)}
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_a_missing_package_is_named_where_nobody_can_install_it(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.command("id", "echo 1000")
    done = builder.run(str(tmp_path / "out"))
    assert done.returncode == 1
    assert "As root:  apt-get install --no-install-recommends dh-python" in done.stderr
    assert not (tmp_path / "out").exists()


def test_root_installs_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    builder = Builder(tmp_path)
    builder.command("id", "echo 0")
    builder.command("apt-get", f'echo "$@" >>{builder.log}')
    done = builder.run(str(tmp_path / "out"))
    assert "Installing with apt, with what each brings along: dh-python" in done.stderr
    assert builder.log.read_text().splitlines()[-1].endswith("install --no-install-recommends dh-python")


@pytest.mark.parametrize("words", [["--fast"], ["one", "two"], ["--version"], ["--version", "1.0-evil"]])
def test_wrong_use_is_refused_before_anything_is_done(tmp_path: Path, words: list[str]) -> None:
    done = Builder(tmp_path).run(*words)
    assert done.returncode in {1, 2}
    assert done.stderr
    assert done.stdout == ""
