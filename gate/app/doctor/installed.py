"""Checks of what is installed: the libraries' versions, and the user that the gate runs as."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution
from itertools import zip_longest
from typing import Final

from gate.app.board import Board
from gate.app.doctor.check import Check, Status, skipped
from gate.config import SIMULATED_BUS, Config

INSTALLED: Final = ("packages", "user")
PROJECT: Final = "health-gate"
USER: Final = "gate"

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[.*\])?\s*(.*)")
_BOUND: Final = re.compile(r">=\s*([0-9.]+)")


def installed(board: Board, config: Config | None) -> Iterator[Check]:
    """Check the versions of the libraries and the groups of the gate's user."""
    yield packages()
    yield _user(board, config)


def packages(path: Sequence[str] | None = None) -> Check:
    """Check that every library that is always needed is there, and not too old.

    `path`: folders in which packages are looked for, those of this Python unless given.
    """
    own = _found(PROJECT, path)
    if own is None:
        return skipped("packages", f"{PROJECT} itself is not installed as a package")
    needs = [need for need in own.requires or () if "extra ==" not in need]
    problems = [problem for need in needs if (problem := _lacking(need, path))]
    value, limit = f"{PROJECT} {own.version}, {len(needs)} libraries", "what the package asks for"
    if not problems:
        return Check("packages", Status.OK, value, limit)
    advice = f"bring the system up to date: apt-get update, apt-get install --fix-broken {PROJECT}"
    return Check("packages", Status.FAILED, "; ".join(problems), limit, advice)


def _found(name: str, path: Sequence[str] | None) -> Distribution | None:
    if path is None:
        return next(iter(Distribution.discover(name=name)), None)
    return next(iter(Distribution.discover(name=name, path=list(path))), None)


def _lacking(need: str, path: Sequence[str] | None) -> str | None:
    """Say what is wrong with one library, such as "cbor2>=5.6"; None if nothing is."""
    match = _REQUIREMENT.match(need)
    assert match, need
    name, rest = match.groups()
    found, bound = _found(name, path), _BOUND.search(rest)
    if found is None:
        return None if _importable(name, path) else f"{name} is missing"
    if bound and _older(found.version, bound[1]):
        return f"{name} is {found.version}, needed is {bound[1]}"
    return None


def _importable(name: str, path: Sequence[str] | None) -> bool:
    """Tell whether there is a module of that name: Debian's zxing-cpp comes without a word on its version."""
    modules = (name.replace("-", "_"), name.replace("-", ""))
    return any(PathFinder.find_spec(module, path) is not None for module in modules)


def _older(version: str, bound: str) -> bool:
    """Compare by the leading numbers: what follows them (rc1, +dfsg) decides nothing here."""
    pairs = zip_longest(_numbers(version), _numbers(bound), fillvalue=0)
    return next((have < want for have, want in pairs if have != want), False)


def _numbers(version: str) -> list[int]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return [int(number) for number in match[0].split(".")] if match else []


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the machine: user number, and every group that it is in, by number and by name."""

    uid: int
    groups: dict[int, str]


def account(board: Board, name: str = USER) -> Account | None:
    """Return the user of this name, None if the machine has none."""
    users = [line.split(":") for line in (board.text("etc/passwd") or "").splitlines()]
    user = next((user for user in users if user[0] == name and len(user) > 3), None)
    if user is None:
        return None
    lines = [line.split(":") for line in (board.text("etc/group") or "").splitlines()]
    groups = {
        int(line[2]): line[0] for line in lines if len(line) > 3 and _belongs(user[3], name, line[2], line[3])
    }
    return Account(int(user[2]), groups)


def _belongs(own_gid: str, name: str, gid: str, members: str) -> bool:
    return gid == own_gid or name in members.split(",")


def _user(board: Board, config: Config | None) -> Check:
    found = account(board)
    if found is None:
        if board.raspberry_pi is None:
            return skipped("user", f"no user {USER}, and this is no Raspberry Pi")
        advice = f"install the package {PROJECT}, which makes it"
        return Check("user", Status.FAILED, f"no user {USER}", advice=advice)
    wanted = _wanted(config)
    missing = sorted(wanted - set(found.groups.values()))
    value = f"{USER} in {', '.join(sorted(found.groups.values()))}"
    if not missing:
        return Check("user", Status.OK, value, ", ".join(sorted(wanted)))
    advice = f"usermod --append --groups {','.join(missing)} {USER}; then start the gate again"
    return Check("user", Status.FAILED, value, ", ".join(sorted(wanted)), advice)


def _wanted(config: Config | None) -> set[str]:
    """Return the groups that open the devices which the configuration names; all without one."""
    if config is None:
        return {"gpio", "i2c", "video"}
    if config.simulation is not None:
        return set()
    wanted = {
        "gpio": config.pins.factory != "mock",
        "i2c": config.thermometer.bus != SIMULATED_BUS,
        "video": config.camera.source in {"v4l2", "picamera2"},
    }
    return {group for group, needed in wanted.items() if needed}
