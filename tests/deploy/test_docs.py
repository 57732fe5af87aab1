"""What staff read: links lead somewhere, commands exist, tables say what the code says."""

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import click
from pytest import mark

from central.cli import main as central
from drivers.mlx90614 import VARIANTS
from gate.app import doctor
from gate.app.application import World
from gate.app.board import Board
from gate.app.doctor.pulse import PULSE
from gate.cli import main as gate
from gate.config import PinsSection

TREE = Path(__file__).parents[2]
STAFF = ("wiring", "parts", "commissioning", "replacing", "doctor", "unproved")
PAGES = sorted(
    {
        TREE / "README.md",
        *(TREE / "docs").rglob("*.md"),
        *(TREE / "deploy").rglob("*.md"),
        *TREE.glob("bench/*.md"),
    }
)


def text(name: str) -> str:
    return (TREE / "docs" / f"{name}.md").read_text("utf-8")


def cells(page: str, columns: int) -> list[list[str]]:
    """Return the rows of all tables of a page that have so many columns, without their heads."""
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    heads = [at - 1 for at, row in enumerate(rows) if set("".join(row)) <= {"-"}]
    dropped = {*heads, *(at + 1 for at in heads)}
    return [row for at, row in enumerate(rows) if at not in dropped and len(row) == columns]


# Links


def prose(page: str) -> str:
    """Return a page without what is code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page are called in links (as GitHub makes them)."""
    heads = re.findall(r"^#+ +(.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def broken_links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        if not path.exists():
            yield f"{target}: there is no such file"
        elif anchor and anchor not in anchors(path):
            yield f"{target}: there is no such heading"


@mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken_links(page)) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One thing\n[a](none.md) [b](#one-thing) [c](#two) [d](page.md#one-thing) `[e](x)` [f](https://x)\n"
    )
    assert [link.partition(":")[0] for link in broken_links(page)] == ["none.md", "#two"]


# Pages


@mark.parametrize("name", STAFF)
def test_a_page_for_staff_is_one_page(name: str) -> None:
    assert len(text(name).splitlines()) <= 60


@mark.parametrize("name", ["wiring", "commissioning"])
def test_life_safety_is_said_where_it_belongs(name: str) -> None:
    assert "life safety does not depend on this software" in " ".join(text(name).lower().split())


def commands(page: str) -> list[str]:
    """Return every command line of ours that a page shows."""
    shown = re.findall(r"`([^`\n]+)`", page)
    for block in re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        shown += [line.partition("#")[0] for line in block.splitlines()]
    lines = [line.strip().removeprefix("sudo ") for line in shown]
    return [line for line in lines if re.match(r"(gate|central) \w", line)]


def unknown(line: str) -> str | None:
    """Say what in a command line the program does not know; None if it knows all."""
    program, *words = line.split()
    command: click.Command = {"gate": gate, "central": central}[program]
    for word in words:
        if isinstance(command, click.Group):
            if word not in command.commands:
                return f"{line}: no command {word}"
            command = command.commands[word]
        elif word.startswith("-"):
            options = {option for param in command.params for option in param.opts}
            if word.partition("=")[0] not in options:
                return f"{line}: no option {word}"
    return None


@mark.parametrize("name", STAFF)
def test_commands_exist(name: str) -> None:
    assert [problem for line in commands(text(name)) if (problem := unknown(line))] == []


def test_an_unknown_command_is_found() -> None:
    assert commands("`gate docter` and `sudo gate doctor --push`\n```sh\ncentral gates lost  # x\n```\n") == [
        "gate docter", "gate doctor --push", "central gates lost",
    ]  # fmt: skip
    assert all(map(unknown, ["gate docter", "gate doctor --push", "central gates lost"]))
    assert unknown("gate ledger verify /var/lib/gate/ledger.db") is None


# Tables


def test_the_doctor_s_table_is_the_doctor(tmp_path: Path) -> None:
    checks = doctor.examine(tmp_path / "none.toml", World(), Board(tmp_path))
    examination, strict = text("doctor").split("## The strict test")
    assert [row[0] for row in cells(examination, 3)] == [check.name for check in checks]
    assert tuple(row[0] for row in cells(strict, 3)) == PULSE
    assert all(all(row) for row in cells(text("doctor"), 3))


@cache
def example() -> dict[str, Any]:
    return tomllib.loads((TREE / "deploy" / "gate.example.toml").read_text("utf-8"))["pins"]


# Board pin of each BCM number on the 40-way header, the same on every model since 2014.
HEADER = {
    9: 21, 10: 19, 11: 23, 12: 32, 13: 33, 14: 8, 15: 10, 16: 36, 17: 11, 18: 12, 19: 35, 20: 38, 21: 40,
    22: 15, 23: 16, 24: 18, 25: 22, 26: 37, 27: 13,
}  # fmt: skip


def test_the_wiring_is_that_of_the_example() -> None:
    rows = {row[0]: row for row in cells(text("wiring"), 5) if row[1].isdigit()}
    assert {name: int(row[1]) for name, row in rows.items()} == example()
    assert {name: int(row[2]) for name, row in rows.items()} == {
        name: HEADER[pin] for name, pin in example().items()
    }
    assert {field.name for field in fields(PinsSection)} - rows.keys() == {
        "factory", "distance_trigger", "distance_echo",
    }  # fmt: skip
    assert (PinsSection().relay, PinsSection().passage) == (example()["relay"], example()["passage"])


def test_the_thermometers_are_those_of_the_driver() -> None:
    rows = {row[0]: row for row in cells(text("parts"), 5)}
    assert rows.keys() == VARIANTS.keys()
    for name, variant in VARIANTS.items():
        half_spot_cm = 2.0
        farthest_cm = int(half_spot_cm / math.tan(math.radians(variant.fov_deg / 2)) + 1e-9)
        error = variant.error_cc(3700, 2500) / 100
        assert rows[name][1:4] == [f"{variant.fov_deg}°", f"{farthest_cm} cm", f"±{error:g} °C"], name


def test_what_is_unproved_names_a_way_to_prove_it() -> None:
    rows = cells(text("unproved"), 4)
    for what, why, how, expected in rows:
        assert why, what
        assert "`" in how or "](" in how, what
        assert expected, what
    said = " ".join(row[0].lower() for row in rows)
    for word in (
        "real gpio", "thermometer on the real bus", "camera", "bcm2835 watchdog", "tryboot", "wi-fi", "wear",
        "armhf", "deviceallow", "a/b image",
    ):  # fmt: skip
        assert word in said, word
