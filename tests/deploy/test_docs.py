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


FENCED = re.compile(r"^ *```.*?^ *```", re.MULTILINE | re.DOTALL)


def prose(page: str) -> str:
    """Return a page without what is code."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", page))


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


@mark.parametrize("name", ["wiring", "commissioning", "replacing", "doctor", "flashing"])
def test_life_safety_is_said_where_it_belongs(name: str) -> None:
    assert "life safety does not depend on this software" in " ".join(text(name).lower().split())


PROGRAM = re.compile(r"(?:gate|central|make|deploy/[\w/.-]+)(?= |$)")
UNIT = re.compile(r"(?<![\w/.-])(?:health-)?(?:gate|central)[a-z-]*\.(?:service|timer|path)(?!\w)")
PATH = re.compile(r"(?<![\w/.-])(?:bench|central|debian|deploy|docs|drivers|systemd|tests)/[\w./*-]*\w")
BEFORE = re.compile(r"^(?:sudo |runuser -u \w+ -- |\.venv/bin/(?:python )?|echo .*\| *(?=gate|central))+")
NOT_KEPT = {"deploy/rpi-image-gen/pkgs"}


def code(page: str) -> list[str]:
    """Return what a page shows as code: the lines of blocks, continued ones as one, and what is in marks."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", page, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in re.sub(r" *\\\n *", " ", block).splitlines()]
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCED.sub("", page))
    return lines + [" ".join(shown.split()) for shown in inline]


def commands(page: str) -> list[str]:
    """Return every command line of ours that a page shows, one for each of `show|note|…`."""
    found = []
    for line in code(page.replace("\\|", "|")):
        for part in re.split(r" \| | && |; ", re.sub(r"(^|\s)#.*", "", line)):
            bare = BEFORE.sub("", part.strip())
            if PROGRAM.match(bare):
                choices = re.search(r"[\w-]+(?:\|[\w-]+)+", bare)
                each = choices[0].split("|") if choices else [""]
                found += [bare.replace(choices[0], one) if choices else bare for one in each]
    return found


def unknown(line: str) -> str | None:
    """Say what in a command line the program does not know; None if it knows all."""
    program, *words = re.split(r"[ >]+", re.sub(r"[\[\]]", "", line))
    if program == "make":
        return (
            None
            if not words or re.search(rf"^{words[0]}:", makefile(), re.MULTILINE)
            else f"{line}: no target"
        )
    if program not in {"gate", "central"}:
        return unknown_to_script(TREE / program, words)
    command: click.Command = {"gate": gate, "central": central}[program]
    for word in words:
        if word.startswith("-") and word != "-":
            options = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
            if word.partition("=")[0] not in options | {"--help", "--version"}:
                return f"{line}: no option {word}"
        elif isinstance(command, click.Group) and (word.isupper() or word == "…"):
            return None  # stands for any of its commands
        elif isinstance(command, click.Group) and word not in command.commands:
            return f"{line}: no command {word}"
        elif isinstance(command, click.Group):
            command = command.commands[word]
    return None


def unknown_to_script(script: Path, words: list[str]) -> str | None:
    """Say which option a script of deploy/ does not know: it takes none that its own text does not name."""
    if not script.exists():
        return f"{script.relative_to(TREE)}: there is no such file"
    lines = script.read_text("utf-8") if script.is_file() else ""
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    missing = [option for option in options if not re.search(rf"{option}(?![\w-])", lines)]
    return f"{script.relative_to(TREE)}: no option {missing[0]}" if missing else None


@cache
def makefile() -> str:
    return (TREE / "Makefile").read_text("utf-8")


@mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_commands_exist(page: Path) -> None:
    assert [problem for line in commands(page.read_text("utf-8")) if (problem := unknown(line))] == []


def test_an_unknown_command_is_found() -> None:
    assert commands(
        "`gate docter` and `sudo gate doctor --push`\n```sh\ncentral gates lost  # x\n```\n"
        "`gate desk show\\|shout`, `.venv/bin/gate x`\n"
        "```sh\nmake dem\ndeploy/card/prepare-card a.img \\\n  --sight x\n```\n"
    ) == [
        "central gates lost", "make dem", "deploy/card/prepare-card a.img --sight x",
        "gate docter", "gate doctor --push", "gate desk show", "gate desk shout", "gate x",
    ]  # fmt: skip
    wrong = ["gate docter", "gate doctor --push", "central gates lost", "gate desk shout", "make dem"]
    wrong += ["deploy/card/prepare-card a.img --sight x", "deploy/none", "central alarms --al"]
    assert [line for line in wrong if not unknown(line)] == []
    right = [
        "gate ledger verify /var/lib/gate/ledger.db",
        "central command NAME SITE --by WHO",
        "central alarms --all",
    ]
    assert [unknown(line) for line in right] == [None, None, None]


@mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_files_and_units_exist(page: Path) -> None:
    shown = " ".join(code(page.read_text("utf-8")))
    paths = {path for path in PATH.findall(shown) if path not in NOT_KEPT and not list(TREE.glob(path))}
    files = {path.name for folder in ("systemd", "deploy") for path in (TREE / folder).rglob("*.*")}
    assert (sorted(paths), sorted(set(UNIT.findall(shown)) - files)) == ([], [])


def test_the_readme_leads_to_every_page() -> None:
    leads = {(TREE / target.partition("#")[0]).resolve() for target in re.findall(
        r"\]\(([^)\s]+)\)", (TREE / "README.md").read_text("utf-8")
    )}  # fmt: skip
    assert [page.name for page in sorted((TREE / "docs").glob("*.md")) if page not in leads] == []


def test_the_readme_can_be_read_in_a_terminal() -> None:
    lines = (TREE / "README.md").read_text("utf-8").splitlines()
    assert [line for line in lines if len(line) > 130 and not line.startswith("|")] == []


@mark.parametrize("name", ["wiring", "commissioning", "flashing"])
def test_an_unwired_fire_contact_is_bridged(name: str) -> None:
    said = " ".join(text(name).split())
    assert re.search(r"bridge `fire` to ground|`fire`( is)? bridged to ground", said)


def test_who_installs_without_recommends_gets_what_the_gate_needs() -> None:
    """Registration is sealed with python3-nacl, which is recommended only."""
    for name in ("flashing", "updates", "unproved"):
        for line in code(text(name)):
            if "--no-install-recommends ./health-gate_" in line:
                assert "python3-nacl python3-prometheus-client" in line, line


def test_the_first_boot_takes_as_long_on_every_page() -> None:
    longest = re.search(r"up to (\d+) minutes", text("leds"))
    assert longest
    assert f"the centre sees the gate in {longest[1]} minutes" in text("unproved")
    size = re.search(r"\| card \| (\d+ GB)", text("parts"))
    assert size
    assert f"a card of {size[1]} " in text("flashing")


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
