"""The unit files as they stand, without a running systemd: known to it, hardened, and calling what exists."""

import re
import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import click
import pytest

from central.cli import main as central
from gate.app.updating.health import LASTING_S
from gate.cli import main as gate
from gate.shell.watchdog import FEEDS_PER_PERIOD, LOOK_EVERY_S
from tests.brokers import require

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "systemd"
UNITS = sorted(path for path in FOLDER.iterdir() if path.is_file())
SERVICES = [path for path in UNITS if path.suffix == ".service"]
SYSTEM = Path("/usr/lib/systemd/system")
ESCALATE = "/usr/libexec/health-gate/escalate"
CLICK = {"/usr/bin/gate": gate, "/usr/bin/central": central}
# What comes with systemd, with udev and with every Debian.
OF_DEBIAN = {"/usr/bin/sh", "/usr/bin/systemctl", "/usr/bin/udevadm", "/usr/bin/rm"}

# Tenths of what `systemd-analyze security` says at most. An update installs packages, see there.
EXPOSURE = defaultdict(lambda: 15, {"gate-update.service": 40})
# systemd 254 and later; on an older one they are told and passed over.
NEWER_THAN_252 = {"RestartMode", "RestartSteps", "RestartMaxDelaySec"}

Settings = dict[tuple[str, str], list[str]]


def settings(path: Path) -> Settings:
    """Every value of a unit file, by section and key."""
    found: Settings = defaultdict(list)
    section = ""
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            found[section, key].append(value)
    return found


def service(name: str) -> Settings:
    return settings(FOLDER / name)


@pytest.fixture(scope="module")
def analyze() -> str:
    return require("systemd-analyze", "systemd")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system with this machine's own units, ours, and something executable for each command."""
    root = tmp_path_factory.mktemp("root")
    if not SYSTEM.is_dir():
        require("the folder /usr/lib/systemd/system", "systemd")
    shutil.copytree(SYSTEM, root / "usr/lib/systemd/system", symlinks=True, ignore_dangling_symlinks=True)
    for path in UNITS:
        shutil.copy(path, root / "usr/lib/systemd/system")
    for program in (*CLICK, *OF_DEBIAN, ESCALATE):
        stub = root / program.lstrip("/")
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text("#!/bin/sh\n")
        stub.chmod(0o755)
    return root


def test_systemd_finds_nothing_wrong_with_any_unit(analyze: str, root: Path) -> None:
    names = [path.name for path in UNITS]
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", f"--root={root}", *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if not _is_of_a_newer_systemd(line)]
    assert told == []
    assert done.returncode == 0 or done.stderr


def _is_of_a_newer_systemd(line: str) -> bool:
    unknown = re.search(r"Unknown key (?:name )?'(\w+)'", line)
    return unknown is not None and unknown[1] in NEWER_THAN_252


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_no_unit_is_more_exposed_than_it_has_to_be(analyze: str, path: Path) -> None:
    threshold = EXPOSURE[path.name]
    done = subprocess.run(
        [analyze, "security", "--offline=true", f"--threshold={threshold}", "--no-pager", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    summary = done.stdout.strip().rpartition("\n")[2]
    assert (done.returncode, summary.count("Overall exposure level")) == (0, 1), done.stdout + done.stderr


def commands() -> list[tuple[str, str]]:
    keys = ("ExecStartPre", "ExecStart", "ExecCondition", "ExecStartPost", "ExecStop", "ExecReload")
    return [
        (path.name, command.lstrip("-+!@:"))
        for path in SERVICES
        for key in keys
        for command in settings(path).get(("Service", key), [])
    ]


@pytest.mark.parametrize(("unit", "command"), commands())
def test_every_command_exists_with_its_options(unit: str, command: str) -> None:
    program, *words = shlex.split(command)
    if program in CLICK:
        _parse(CLICK[program], words)
    elif program == ESCALATE:
        assert (ROOT / "deploy/escalate").stat().st_mode & 0o111
        assert f"deploy/escalate {Path(ESCALATE).parent.relative_to('/')}" in _packed()
    else:
        assert program in OF_DEBIAN, unit


def _parse(command: click.Command, words: list[str]) -> None:
    """Walk down to the subcommand and let it parse its options, without running it."""
    context = click.Context(command)
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    assert command.make_context(command.name, [*words], resilient_parsing=False)


def _packed() -> list[str]:
    """Which files the packages take from the tree, and where to."""
    return [
        line.strip()
        for path in (ROOT / "debian").glob("*.install")
        for line in path.read_text("utf-8").splitlines()
    ]


def test_the_gate_starts_without_any_network() -> None:
    for path in UNITS:
        found = settings(path)
        for key in ("After", "Wants", "Requires", "BindsTo", "Requisite"):
            assert not [value for value in found.get(("Unit", key), []) if "network" in value], path.name


def test_a_fed_watchdog_a_restart_policy_and_an_end_to_it() -> None:
    unit = service("gate.service")
    said = {key: values[-1] for (_, key), values in unit.items()}
    assert (said["Type"], said["NotifyAccess"]) == ("notify", "main")
    period_s = float(said["WatchdogSec"])
    assert period_s / FEEDS_PER_PERIOD + LOOK_EVERY_S < period_s / 2, "systemd wants it twice in its time"
    assert (said["Restart"], said["RestartPreventExitStatus"], said["OnFailure"]) == (
        "always",
        "78",
        "gate-escalate.service",
    )
    assert period_s + 10 <= LASTING_S, "an update is called good only when the watchdog has had its say"
    # Crashed at once, hung while it served or hung while it started: the fifth start is within the time.
    assert (said["TimeoutStartSec"], said["TimeoutStopSec"]) == ("3min", "45")
    assert 5 * (float(said["RestartSec"]) + 10 + 180 + 45) < 1200
    assert (said["StartLimitIntervalSec"], said["StartLimitBurst"]) == ("20min", "5")
    assert said["ConditionPathExists"] == "/etc/gate/gate.toml"


def test_pins_belong_to_the_gate_and_the_doctor_that_moves_nothing() -> None:
    with_pins = {path.name for path in SERVICES if "char-gpiochip rw" in _allowed(settings(path))}
    assert with_pins == {"gate.service", "gate-doctor.service"}
    for path in SERVICES:
        found = settings(path)
        assert found["Service", "DevicePolicy"] == ["closed"] or found["Service", "PrivateDevices"] == [
            "yes"
        ], path
    assert not [command for _, command in commands() if "--pulse" in command]


def _allowed(unit: Settings) -> list[str]:
    return unit.get(("Service", "DeviceAllow"), [])


def test_the_doctor_sees_the_devices_that_the_gate_sees() -> None:
    ours, doctors = service("gate.service"), service("gate-doctor.service")
    assert set(_allowed(ours)) <= set(_allowed(doctors))
    for key in ("User", "Group", "SupplementaryGroups", "SystemCallFilter", "RestrictAddressFamilies"):
        assert ours["Service", key] == doctors["Service", key]


def test_the_board_s_facts_are_left_visible_to_gpiozero_and_the_library_s_pipes_have_a_place() -> None:
    for name in ("gate.service", "gate-doctor.service"):
        unit = service(name)
        assert ("Service", "ProcSubset") not in unit
        folder = unit["Service", "RuntimeDirectory"][0]
        assert unit["Service", "WorkingDirectory"] == [f"%t/{folder}"]
        assert f"LG_WD=%t/{folder}" in unit["Service", "Environment"]


def test_what_a_timer_starts_is_there_and_is_not_started_by_itself() -> None:
    """The package starts and restarts what is enabled, and must not do so with an update that is at work."""
    for path in UNITS:
        if path.suffix in {".timer", ".path"}:
            assert (FOLDER / f"{path.stem}.service").is_file(), path.name
            assert ("Install", "WantedBy") not in settings(FOLDER / f"{path.stem}.service"), path.name
            assert ("Install", "WantedBy") in settings(path), path.name
    enabled = {path.name for path in SERVICES if ("Install", "WantedBy") in settings(path)}
    assert enabled == {"gate.service", "central.service"}


@pytest.mark.parametrize(
    ("rescue", "runs"),
    [("", "gate"), ("exit 0", "rescue"), ("exit 1", "rescue"), ("exit 78", "rescue gate"), ("half", "gate")],
)
def test_an_update_that_was_cut_off_is_finished_by_what_is_kept_for_it(
    rescue: str, runs: str, tmp_path: Path
) -> None:
    (line,) = service("gate-update.service")["Service", "ExecStart"]
    kept, python, gate = tmp_path / "rescue", tmp_path / "python3", tmp_path / "gate"
    if rescue:
        kept.mkdir()
    if rescue.startswith("exit"):
        (kept / "__main__.py").touch()
    python.write_text(f"#!/bin/sh\necho rescue\n{rescue}\n")
    gate.write_text("#!/bin/sh\necho gate\n")
    for program in (python, gate):
        program.chmod(0o755)
    places = {
        "/var/cache/health-gate/rescue": kept,
        "/usr/bin/python3": python,
        "/usr/bin/gate": gate,
        "$$": "$",
    }
    for there, here in places.items():
        line = line.replace(there, str(here))
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, check=False)
    assert done.stdout.split() == runs.split()
    assert done.returncode == (1 if rescue == "exit 1" else 0)


def test_no_service_of_one_user_empties_the_folder_of_another() -> None:
    folders = [
        folder for path in SERVICES for folder in settings(path).get(("Service", "RuntimeDirectory"), [])
    ]
    assert len(folders) == len(set(folders)), "it is removed when the first of them stops"


@pytest.mark.parametrize(
    ("name", "drop_in"),
    [("system.conf", "50-gate-watchdog.conf"), ("journald.conf", "50-gate.conf")],
)
def test_every_key_of_a_drop_in_is_one_that_systemd_knows(
    analyze: str, tmp_path: Path, name: str, drop_in: str
) -> None:
    """systemd's own file names every key, as a comment with its default."""
    own = next((p for p in (Path("/usr/lib/systemd"), Path("/etc/systemd")) if (p / name).is_file()), None)
    if own is None:
        require(f"the file /usr/lib/systemd/{name}", "systemd")
    assert own is not None
    where = tmp_path / own.relative_to("/")
    where.mkdir(parents=True)
    shutil.copy(own / name, where)
    (tmp_path / f"usr/lib/systemd/{name}.d").mkdir(parents=True)
    shutil.copy(FOLDER / f"{name}.d" / drop_in, tmp_path / f"usr/lib/systemd/{name}.d")
    done = subprocess.run(
        [analyze, "cat-config", f"--root={tmp_path}", "--no-pager", f"systemd/{name}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    known = set(re.findall(r"^#(\w+)=", done.stdout, re.MULTILINE))
    ours = settings(FOLDER / f"{name}.d" / drop_in)
    assert ours
    for (_, key), values in ours.items():
        assert key in known
        assert f"\n{key}={values[-1]}\n" in done.stdout, "it is not in force"


def test_the_board_s_watchdog_is_asked_for_no_more_than_it_can_count() -> None:
    watchdog = settings(FOLDER / "system.conf.d/50-gate-watchdog.conf")
    for key in ("RuntimeWatchdogSec", "RebootWatchdogSec"):
        assert float(watchdog["Manager", key][0].removesuffix("s")) < 15, "bcm2835_wdt counts to 15 s"


def test_the_journal_is_bounded() -> None:
    journal = settings(FOLDER / "journald.conf.d/50-gate.conf")
    assert {"SystemMaxUse", "RuntimeMaxUse"} <= {key for _, key in journal}
