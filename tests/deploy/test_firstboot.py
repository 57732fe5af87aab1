"""gate-firstboot in a tree of folders: the real script and a card that prepare-card has written.

What would change this machine (systemd, apt, the host name) are small programs on PATH that keep what they
were told; what really installs and starts is run in tests/deploy/test_card_debian.py and in tests/systemd.
"""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from tests.app.update_rig import MAKE_REPOSITORY, Bench, build_deb, run
from tests.app.update_rig import PROGRAMS as PACKAGING
from tests.brokers import require
from tests.deploy.cards import KEY, ROOT, SECRET, SOURCE, Desk, public_key, stock_folder

SCRIPT: Final = ROOT / "deploy" / "firstboot" / "gate-firstboot"
STEPS: Final = ("name", "files", "clock", "install", "enrol", "config", "serve", "tidy")
SERIAL: Final = "10000000fe12ab34"
NOBODY: Final = 65534
NEEDED: Final = ("python3-picamera2", "python3-lgpio")  # by the card's hardware

# Each does what the real one does as far as the script can see it, in the folder $MACHINE, and logs it.
PROGRAMS: Final = {
    "hostname": 'echo "$1" >"$MACHINE/hostname"',
    "timedatectl": 'cat "$MACHINE/synchronised"',
    "apt-get": """case $* in
    *" install "*) [ ! -e "$MACHINE/no-packages" ] || exit 100
        echo yes >"$MACHINE/installed"; mkdir -p "$ETC/gate" "$GATE" ;;
esac""",
    "dpkg": """case $1 in --print-architecture) echo arm64 ;; --compare-versions) [ "$2" != "$4" ] ;; esac""",
    "dpkg-deb": """case $1 in --show) echo health-gate_0.1.0_all.deb ;; esac
case $3 in
    Architecture) echo all ;;
    Package) echo health-gate ;;
    Version) echo 0.1.0 ;;
esac""",
    "dpkg-query": '[ -e "$MACHINE/installed" ] && printf "ii 0.1.0"',
    "systemctl": """case $* in
    "start gate-enrol.service")
        [ -s "$GATE/tls/gate.pem" ] && exit
        [ "$(cat "$GATE/enrol-token")" = "$(cat "$MACHINE/good-token")" ] || exit 1
        mkdir -p "$GATE/tls"; echo certificate >"$GATE/tls/gate.pem"; rm "$GATE/enrol-token" ;;
    "restart gate.service") grep -q "id = .gate-" "$ETC/gate/gate.toml"; echo yes >"$MACHINE/serving" ;;
    "disable gate-firstboot.service") rm -f "$MACHINE/armed" ;;
    "enable gate-firstboot.service") echo yes >"$MACHINE/armed" ;;
esac""",
    "journalctl": "echo the token is not known",
    "gate": '! grep -q "relay = 99" "$3"',
    "cloud-init": "",
    "ssh-keygen": "",
    "modprobe": "",
    "chgrp": "",
    "setpriv": 'shift 5; exec "$@"',
    "timeout": 'shift 2; exec "$@"',
    "sync": "",
}
# Those between which power is cut: whatever writes. A call counts before it is done; one letter each, as both
# ends of a pipe may count at once.
WRITERS: Final = ("cat", "chmod", "cp", "dd", "mkdir", "mv", "rm", "sed", *PROGRAMS)
COUNTED: Final = """\
#!/bin/sh
printf x >>"$MACHINE/calls"
read -r calls <"$MACHINE/calls" || :
[ "${CUT_AT:-0}" -eq 0 ] || [ "${#calls}" -lt "$CUT_AT" ] || kill -KILL 0
"""


class Board:
    """A new board with a card in it, its folders and its programs."""

    def __init__(self, folder: Path, bootfs: Path) -> None:
        self.folder = folder
        self.boot = shutil.copytree(bootfs, folder / "boot")
        self.card = self.boot / "health-gate"
        self.machine = folder / "machine"
        self.led = folder / "leds" / "ACT"
        for path in (self.machine, self.led, folder / "bin", folder / "dt"):
            path.mkdir(parents=True)
        for path in ("etc/apt/sources.list.d", "etc/systemd/system", "keyrings"):
            (folder / path).mkdir(parents=True)
        (folder / "dt" / "serial-number").write_bytes(SERIAL.encode() + b"\0")
        (folder / "etc" / "machine-id").write_text(f"{'c' * 24}0badcafe\n")
        (folder / "etc" / "hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\traspberrypi\n")
        (self.led / "trigger").write_text("none [mmc0] timer default-on pattern\n")
        (self.led / "max_brightness").write_text("255\n")
        (self.machine / "synchronised").write_text("yes\n")
        (folder / "uptime").write_text("12.34 20.00\n")
        (self.machine / "good-token").write_text(f"{SECRET}\n")
        (self.machine / "calls").touch()
        self.more: dict[str, str] = {}
        self._make_programs()

    def _make_programs(self) -> None:
        for name in WRITERS:
            body = PROGRAMS.get(name)
            if body is None:
                does = f'exec {require(name, "coreutils")} "$@"'
            else:
                does = f'echo "{name} $*" >>"$MACHINE/log"\n{body}'
            program = self.folder / "bin" / name
            program.write_text(f"{COUNTED}{does}\n")
            program.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        names = {
            "BOOT": "boot",
            "ETC": "etc",
            "STATE": "state",
            "GATE": "gate",
            "KEPT": "kept",
            "LEDS": "leds",
        }
        names |= {
            "KEYRINGS": "keyrings",
            "TIMESYNCD": "timesyncd",
            "UPTIME": "uptime",
            "DEVICE_TREE": "dt",
            "CPUINFO": "cpuinfo",
            "MACHINE": "machine",
        }
        paths = {name: str(self.folder / path) for name, path in names.items()}
        return {**paths, "PATH": f"{self.folder}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}

    def run(self, *words: str, cut_at: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the script from the card, as systemd does; power is cut at the call `cut_at`, 0 is never."""
        (self.machine / "calls").write_text("")
        return subprocess.run(
            ["/bin/sh", str(self.card / "gate-firstboot"), *(words or ("run",))],
            check=False,
            capture_output=True,
            text=True,
            env={**self.environment, **self.more, "CUT_AT": str(cut_at)},
            start_new_session=True,
        )

    def done(self) -> list[str]:
        return [step for step in STEPS if (self.folder / "state" / f"{step}.done").exists()]

    def log(self) -> str:
        return (self.machine / "log").read_text()

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    def shown(self) -> str:
        """Return the signal on the LED, in the words of led-states."""
        trigger = (self.led / "trigger").read_text().strip()
        if trigger == "timer":
            return f"blink {self.text('leds/ACT/delay_on').strip()} {self.text('leds/ACT/delay_off').strip()}"
        if trigger == "pattern":
            return f"count {self.text('leds/ACT/pattern').count(' 200 ')}"
        return {"default-on": "on"}.get(trigger, trigger)

    def tree(self) -> Mapping[str, tuple[str, bytes]]:
        """Return every file with its mode and content; not what only tells about the way there."""
        told = {"machine/calls", "machine/log"}
        files = (path for path in self.folder.rglob("*") if path.is_file() and "bin" not in path.parts)
        return {
            name: (stat.filemode(path.stat().st_mode), path.read_bytes())
            for path in files
            if (name := str(path.relative_to(self.folder))) not in told
        }


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.fixture(scope="module")
def bootfs(tmp_path_factory: pytest.TempPathFactory, desk: Desk) -> Path:
    """A card that prepare-card has written."""
    folder = stock_folder(tmp_path_factory.mktemp("card") / "bootfs")
    keys = {
        name: f"{desk.folder}/health-gate.{end}"
        for name, end in (("apt_source", "sources"), ("apt_key", "gpg"))
    }
    done = desk.prepare(folder, trust=str(public_key(desk.folder)), **keys)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def board(tmp_path: Path, bootfs: Path) -> Board:
    return Board(tmp_path / "board", bootfs)


# ---- To the end --------------------------------------------------------------------------------------------


def test_a_first_boot_makes_a_gate(board: Board) -> None:
    done = board.run()
    assert done.returncode == 0, done.stderr
    assert board.done() == list(STEPS)
    assert board.text("machine/hostname") == board.text("etc/hostname") == "gate-fe12ab34\n"
    assert board.text("etc/hosts") == "127.0.0.1\tlocalhost\n127.0.1.1\tgate-fe12ab34\n"
    assert 'id = "gate-fe12ab34"' in board.text("etc/gate/gate.toml")
    assert 'gate = "gate-fe12ab34"' in board.text("etc/gate/enrol.toml")
    assert board.text("etc/gate/enrol-ca.pem") == (board.card / "ca.pem").read_text()
    assert board.text("etc/apt/sources.list.d/health-gate.sources") == SOURCE
    assert (board.folder / "keyrings" / "health-gate.gpg").read_bytes() == KEY
    assert (board.folder / "kept" / "health-gate_0.1.0_all.deb").exists()
    assert board.text("machine/serving") == "yes\n"
    assert board.shown() == "on"
    assert "Done: this is gate-fe12ab34." in (board.card / "status.txt").read_text()


def test_the_steps_are_those_of_the_table(board: Board) -> None:
    assert tuple(board.run("steps").stdout.split()) == STEPS
    table = [
        line.split("\t") for line in (board.card / "led-states").read_text().splitlines() if line[0] != "#"
    ]
    counted = {state: signal for state, signal, *_ in table if signal.startswith("count")}
    assert counted == {step: f"count {number}" for number, step in enumerate(STEPS, 1)}
    assert {len(line) for line in table} == {4}


def test_what_only_the_gate_may_read_is_nobody_elses(board: Board) -> None:
    board.run()
    for name in ("etc/gate/gate.toml", "etc/gate/enrol.toml"):
        assert (board.folder / name).stat().st_mode & 0o777 == 0o640
    (trusted,) = (board.folder / "etc" / "gate" / "trust").rglob("counter.toml")
    assert trusted.stat().st_mode & 0o777 == 0o640
    assert "chgrp gate" in board.log()
    assert (board.folder / "state").stat().st_mode & 0o777 == 0o700


def test_the_token_is_erased_everywhere_and_never_told(board: Board) -> None:
    token = board.card / "token"
    node = token.open("rb")  # the very blocks on the card, which a deleted file leaves behind
    done = board.run()
    with node:
        assert set(node.read()) == {0}
    holders = [name for name, (_, content) in board.tree().items() if SECRET.encode() in content]
    assert holders == ["machine/good-token"]
    assert SECRET not in done.stdout + done.stderr + board.log()


def test_packages_come_from_the_card_first_and_then_from_the_network(board: Board) -> None:
    board.run("step", "install")
    first = next(line for line in board.log().splitlines() if line.startswith("apt-get"))
    assert "SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null install --no-install-recommends" in first
    assert f"{board.card}/health-gate_0.1.0_all.deb health-gate python3-picamera2 python3-lgpio" in first
    assert "apt-get -q -y -o DPkg::Lock::Timeout=300 update" not in board.log()
    (board.machine / "no-packages").touch()
    board.run("step", "install")
    assert "apt-get -q -y -o DPkg::Lock::Timeout=300 update" in board.log()


@pytest.mark.parametrize(
    ("tree", "cpuinfo", "expected"),
    [
        ("10000000FE12AB34\0", "", "gate-fe12ab34"),
        ("", "Hardware\t: BCM2835\nSerial\t\t: 00000000deadbeef\n", "gate-deadbeef"),
        ("", "processor\t: 0\n", "gate-0badcafe"),
        ("To be filled by O.E.M.\0", "", "gate-0badcafe"),
    ],
)
def test_a_board_names_itself(board: Board, tree: str, cpuinfo: str, expected: str) -> None:
    (board.folder / "dt" / "serial-number").write_text(tree)
    (board.folder / "cpuinfo").write_text(cpuinfo)
    board.run("step", "name")
    assert board.text("machine/hostname") == f"{expected}\n"


def test_a_board_without_any_number_says_so(board: Board) -> None:
    (board.folder / "dt" / "serial-number").unlink()
    (board.folder / "etc" / "machine-id").write_text("uninitialized\n")
    assert board.run().returncode == 1
    assert board.shown() == "count 1"


# ---- What goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "breaks", "told"),
    [
        ("files", ("boot/health-gate/gate.toml", "damaged"), "gate.toml: FAILED"),
        ("clock", ("machine/synchronised", "no\n"), "no time from the network"),
        ("install", ("machine/no-packages", ""), "could not be installed"),
        (
            "enrol",
            ("machine/good-token", "another"),
            "gate-fe12ab34 has no certificate. the token is not known",
        ),
    ],
)
def test_a_step_that_cannot_be_done_says_so_and_goes_on_when_it_can(
    board: Board, step: str, breaks: tuple[str, str], told: str
) -> None:
    broken = board.folder / breaks[0]
    before = broken.read_bytes() if broken.exists() else None
    broken.write_text(breaks[1])
    for _ in range(2):
        done = board.run()
        assert done.returncode == 1
        assert board.done() == list(STEPS[: STEPS.index(step)])
        assert board.shown() == f"count {STEPS.index(step) + 1}"
        assert told in (board.card / "status.txt").read_text()
    if before is None:
        broken.unlink()
    else:
        broken.write_bytes(before)
    assert board.run().returncode == 0
    assert board.done() == list(STEPS)


@pytest.mark.parametrize(
    ("uptime_s", "days_ahead", "goes_on"),
    [(60, -30, False), (150, -30, True), (150, 0.5, True), (150, 2, False)],
)
def test_a_clock_without_a_time_server_must_be_past_the_card(
    board: Board, uptime_s: int, days_ahead: float, goes_on: bool
) -> None:
    (board.machine / "synchronised").write_text("no\n")
    (board.folder / "uptime").write_text(f"{uptime_s}.00 1.00\n")
    then = (board.led / "trigger").stat().st_mtime + days_ahead * 86_400  # that was written a moment ago
    os.utime(board.boot / "meta-data", (then, then))
    assert board.run("step", "clock").returncode == (0 if goes_on else 75)


def test_timesyncd_is_believed(board: Board) -> None:
    (board.machine / "synchronised").write_text("no\n")
    (board.folder / "timesyncd").touch()
    assert board.run("step", "clock").returncode == 0


def test_a_kernel_that_cannot_count_blinks(board: Board) -> None:
    (board.led / "pattern").mkdir()  # writing it fails, as it does without the trigger
    (board.machine / "synchronised").write_text("no\n")
    board.run()
    assert board.shown() == "blink 250 250"


def test_a_machine_without_an_led_is_no_reason_to_stop(board: Board) -> None:
    shutil.rmtree(board.led)
    assert board.run().returncode == 0


def test_an_error_that_nobody_foresaw_ends_the_step(board: Board) -> None:
    (board.folder / "bin" / "hostname").write_text("#!/bin/sh\nexit 3\n")
    assert board.run().returncode == 1
    assert board.done() == []
    assert "name: not done, see: journalctl" in (board.card / "status.txt").read_text()


def test_a_card_of_another_site_is_refused(board: Board) -> None:
    (board.folder / "etc" / "gate").mkdir()
    (board.folder / "etc" / "gate" / "gate.toml").write_text('[gate]\nsite = "school"  # old\n')
    assert board.run().returncode == 1
    assert "set up for the site school" in (board.card / "status.txt").read_text()


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("lost", ["led-states", "gate.toml", "packages"])
def test_whatever_the_card_has_lost_is_named(board: Board, lost: str, empty: bool) -> None:
    lose(board.card / lost, empty=empty)
    assert board.run().returncode == 1
    told = (board.card / "status.txt").read_text()
    assert ("files: not done. Files on the card" in told, f"{lost}: " in told) == (True, True)
    assert board.shown() == ("blink 250 250" if lost == "led-states" else "count 2")


@pytest.mark.parametrize("empty", [False, True])
def test_a_card_that_has_lost_its_unit_says_so_at_the_start(board: Board, empty: bool) -> None:
    lose(board.card / "gate-firstboot.service", empty=empty)
    assert board.run("arm").returncode == 75
    assert "gate-firstboot.service on the card is missing" in (board.card / "status.txt").read_text()
    assert board.shown() == "count 2"


def lose(file: Path, *, empty: bool) -> None:
    file.unlink()
    if empty:
        file.touch()


# ---- Power cuts and second times ---------------------------------------------------------------------------


def test_nothing_is_done_twice(board: Board) -> None:
    board.run()
    tree, log = board.tree(), board.log()
    assert board.run().returncode == 0
    assert board.tree() == tree
    assert board.log()[len(log) :].count("apt-get") == 0


def count_calls(board: Board) -> int:
    assert board.run().returncode == 0
    return len((board.machine / "calls").read_text())


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, bootfs: Path
) -> tuple[int, Mapping[str, tuple[str, bytes]]]:
    """How many calls a first boot makes that is left in peace, and what is there at its end."""
    board = Board(tmp_path_factory.mktemp("whole") / "board", bootfs)
    calls = count_calls(board)
    return calls, board.tree()


PARTS = 14


# One of so many parts here; all calls, with `make soak`, take a minute of processor time.
@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.soak) for part in range(1, PARTS))]
)
def test_power_may_be_cut_at_any_moment(
    tmp_path: Path, bootfs: Path, whole: tuple[int, Mapping[str, tuple[str, bytes]]], part: int
) -> None:
    calls, expected = whole
    assert calls > 70
    for cut_at in range(1 + part, calls + 1, PARTS):
        board = Board(tmp_path / f"cut-{cut_at}", bootfs)
        assert board.run(cut_at=cut_at).returncode == -signal.SIGKILL
        done = board.run()
        assert done.returncode == 0, f"after a cut at call {cut_at}: {done.stderr}"
        assert board.tree() == expected, f"after a cut at call {cut_at}"
        shutil.rmtree(board.folder)


# ---- With apt and dpkg themselves, in a folder of their own ------------------------------------------------


class Debian:
    """A board that was set up, has 0.1.0 and a repository, and gets a card again."""

    def __init__(self, board: Board, desk: Desk, bench: Bench) -> None:
        self.board, self.desk, self.bench = board, desk, bench
        for program in ("apt-get", "dpkg", "dpkg-deb", "dpkg-query"):
            (board.folder / "bin" / program).unlink()
        board.more = {name: os.environ[name] for name in ("RIG", "APT_CONFIG", "DPKG_ROOT", "DPKG_FORCE")}
        self.debs = board.folder / "debs"
        self.debs.mkdir()

    def build(self, name: str, version: str) -> Path:
        return build_deb(self.bench.built, version, name=name)

    def install(self, *debs: Path) -> None:
        run("dpkg", "--install", *map(str, debs))

    def card(self, *debs: Path) -> int:
        """Prepare the card with these, and return how the step ends."""
        for deb in debs:
            shutil.copy(deb, self.debs)
        source, key = (f"{self.desk.folder}/health-gate.{end}" for end in ("sources", "gpg"))
        given = str(self.debs) if debs else None
        done = self.desk.prepare(self.board.boot, debs=given, apt_source=source, apt_key=key)
        assert done.returncode == 0, done.stderr
        return self.board.run("step", "install").returncode

    def has(self, name: str = "health-gate") -> str:
        form = "--showformat=${db:Status-Abbrev}${Version}"
        return run("dpkg-query", "--show", form, name)


@pytest.fixture
def debian(board: Board, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Debian]:
    for program in PACKAGING:
        require(program, "apt-utils gpg gpgv xz-utils")
    (tmp_path / "bench").mkdir()
    made = Debian(board, desk, Bench(tmp_path / "bench", monkeypatch.setenv, os.environ["PATH"]))
    made.install(*(made.build(name, "1") for name in NEEDED))
    yield made
    subprocess.run(["gpgconf", "--kill", "all"], check=False)


def test_a_newer_package_on_the_card_ends_the_hold_of_a_rollback(debian: Debian) -> None:
    run("apt-mark", "hold", "health-gate")
    assert debian.card(debian.build("health-gate", "0.4.0")) == 0
    assert debian.has() == "ii 0.4.0"


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_an_older_card_leaves_version_and_hold_as_they_are(debian: Debian, version: str) -> None:
    debian.install(debian.bench.debs["0.2.0"])
    run("apt-mark", "hold", "health-gate")
    assert debian.card(debian.bench.debs[version]) == 0
    assert debian.has() == "hi 0.2.0"


def test_the_network_brings_what_is_missing_and_not_the_version_that_failed(debian: Debian) -> None:
    run("dpkg", "--remove", *NEEDED)
    built = [debian.build(name, "2") for name in NEEDED]
    run(str(MAKE_REPOSITORY), str(debian.bench.repository), *map(str, built))
    source = debian.bench.root / "etc" / "apt" / "sources.list.d" / "all.sources"
    source.write_text(
        f"Types: deb\nURIs: file:{debian.bench.repository}\nSuites: ./\n"
        f"Signed-By: {debian.bench.repository}/health-gate.gpg\n"
    )
    run("apt-mark", "hold", "health-gate")
    assert debian.card() == 0
    assert [debian.has(name) for name in ("health-gate", *NEEDED)] == ["hi 0.1.0", "ii 2", "ii 2"]


def test_what_people_hold_is_left_alone(debian: Debian) -> None:
    debian.install(debian.build("hg-library", "1"))
    run("apt-mark", "hold", "hg-library")
    assert debian.card(debian.build("hg-library", "2"), debian.build("health-gate", "0.4.0")) == 0
    assert (debian.has("hg-library"), debian.has()) == ("hi 1", "ii 0.4.0")


def test_the_way_back_is_kept_under_the_packages_own_name(debian: Debian) -> None:
    newer = debian.build("health-gate", "0.4.0")
    assert debian.card(newer.rename(newer.with_name("hg.deb"))) == 0
    assert [path.name for path in (debian.board.folder / "kept").iterdir()] == ["health-gate_0.4.0_all.deb"]


# ---- The issuers' keys -------------------------------------------------------------------------------------


def trusted(board: Board) -> list[Path]:
    """Return the files that gate.toml names, where they lie in the board's folders."""
    named = tomllib.loads(board.text("etc/gate/gate.toml"))["gate"]["trust_files"]
    return [board.folder / name.removeprefix("/") for name in named]


def test_the_issuers_keys_outlive_the_boot_partition(board: Board, desk: Desk) -> None:
    board.run()
    shutil.rmtree(board.boot)
    assert [path.read_text() for path in trusted(board)] == [(desk.folder / "counter.toml").read_text()]


def test_the_next_cards_keys_take_the_place_of_the_earlier_ones(board: Board, desk: Desk) -> None:
    board.run()
    (first,) = trusted(board)
    own = board.folder / "etc" / "gate" / "trust" / "own.toml"
    own.write_text("what people have put there\n")
    other = Path(shutil.copy(desk.folder / "counter.toml", desk.folder / "second.toml"))
    assert desk.prepare(board.boot, trust=str(other)).returncode == 0
    board.run()
    (second,) = trusted(board)
    assert (second.name, second.exists(), first.parent.exists()) == ("second.toml", True, False)
    assert desk.prepare(board.boot).returncode == 0
    board.run()
    assert (trusted(board), list(own.parent.iterdir())) == ([], [own])


def test_a_configuration_that_is_refused_leaves_the_earlier_keys_alone(board: Board, desk: Desk) -> None:
    board.run()
    (first,) = trusted(board)
    key = first.read_text()
    counter = Path(shutil.copy(desk.folder / "counter.toml", board.folder))
    counter.write_text(f"# renewed\n{key}")
    assert desk.prepare(board.boot, trust=str(counter)).returncode == 0
    (board.folder / "bin" / "gate").write_text("#!/bin/sh\nexit 78\n")
    assert board.run().returncode == 1
    assert board.shown() == "count 6"
    assert (trusted(board), first.read_text()) == ([first], key)


# ---- Attacks, and other boards -----------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_the_token_follows_no_link_that_the_gates_user_has_put_there(bootfs: Path) -> None:
    setpriv = require("setpriv", "util-linux")
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # for somebody else than root
        board = Board(Path(name) / "board", bootfs)
        for path in board.folder.rglob("*"):
            path.chmod(path.stat().st_mode | 0o055)
        (board.folder / "bin" / "setpriv").write_text(
            f'#!/bin/sh\nshift 5; exec {setpriv} --reuid {NOBODY} --regid {NOBODY} --clear-groups "$@"\n'
        )
        for program in ("cat", "mv", "sync"):
            (board.folder / "bin" / program).unlink()  # the real ones
        rm = board.folder / "bin" / "rm"
        rm.write_text("#!/bin/sh\n")  # as if the link came back at once
        (board.machine / "good-token").write_text("another\n")  # so that this one stays
        board.run("step", "install")
        token, victim = board.folder / "gate" / "enrol-token", board.folder / "victim"
        os.chown(token.parent, NOBODY, NOBODY)
        victim.write_text("root's own\n")
        token.with_name("enrol-token.new").symlink_to(victim)
        assert board.run("step", "enrol").returncode != 0
        assert (victim.read_text(), victim.stat().st_uid) == ("root's own\n", 0)
        rm.unlink()
        board.run("step", "enrol")
        assert (token.read_text(), token.stat().st_uid) == (f"{SECRET}\n", NOBODY)
        assert token.stat().st_mode & 0o777 == 0o600


def make(kind: str, path: Path) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    else:
        (path / "deep").mkdir(parents=True)


@pytest.mark.parametrize("kind", ["pipe", "folder"])
@pytest.mark.parametrize("name", ["enrol-token", "enrol-token.new"])
def test_nothing_in_the_place_of_the_token_holds_it(board: Board, kind: str, name: str) -> None:
    board.run("step", "install")
    make(kind, board.folder / "gate" / name)
    (board.machine / "good-token").write_text("another\n")  # so that this one stays
    board.run("step", "enrol")
    token = board.folder / "gate" / "enrol-token"
    assert token.is_file(), "it would wait for ever, or has put the token into the folder"
    assert token.read_text() == f"{SECRET}\n"
    token.unlink()
    make(kind, board.folder / "gate" / name)
    assert board.run("step", "tidy").returncode == 0
    assert not (board.folder / "gate" / name).exists()


def test_a_pipe_that_is_put_back_at_once_holds_it_for_a_while_only(board: Board) -> None:
    board.run("step", "install")
    bin_ = board.folder / "bin"
    (bin_ / "rm").write_text('#!/bin/sh\nmkfifo "$GATE/enrol-token.new"\n')
    (bin_ / "timeout").write_text(f'#!/bin/sh\nshift 2; exec {require("timeout", "coreutils")} 1 "$@"\n')
    assert board.run("step", "enrol").returncode == 124


def test_what_cannot_be_removed_for_the_gate_leaves_no_token_on_the_card(board: Board) -> None:
    token = board.card / "token"
    board.run("step", "install")
    (board.folder / "bin" / "setpriv").write_text("#!/bin/sh\nexit 1\n")
    assert board.run("step", "tidy").returncode == 75
    assert "enrol-token could not be removed" in (board.card / "status.txt").read_text()
    assert not token.exists()


def test_a_card_in_another_board_says_so_until_it_is_back(board: Board) -> None:
    board.run()
    done = (board.card / "status.txt").read_text()
    serial = board.folder / "dt" / "serial-number"
    serial.write_text("10000000bbbbbbbb\0")
    said = board.run("arm").stdout
    told = (board.card / "status.txt").read_text()
    assert "set up in another board, as gate-fe12ab34" in said
    assert "goes on as gate-fe12ab34 (this board is gate-bbbbbbbb)" in told
    assert "central enrol allow county-hall gate-fe12ab34\n" in told
    assert board.text("etc/hostname") == "gate-fe12ab34\n", "its ledger is of that name"
    serial.write_text(f"{SERIAL}\0")
    board.run("arm")
    assert (board.card / "status.txt").read_text() == done


# ---- systemd -----------------------------------------------------------------------------------------------


def test_arming_starts_it_now_and_after_a_power_cut(board: Board) -> None:
    assert board.run("arm").returncode == 0
    unit = board.text("etc/systemd/system/gate-firstboot.service")
    assert unit == (ROOT / "deploy" / "firstboot" / "gate-firstboot.service").read_text()
    assert [line for line in board.log().splitlines() if line.startswith("systemctl")] == [
        "systemctl daemon-reload",
        "systemctl enable gate-firstboot.service",
        "systemctl --no-block start gate-firstboot.service",
    ]
    board.run()
    assert not (board.machine / "armed").exists()
    board.run("arm")
    assert not (board.machine / "armed").exists()


def test_a_card_that_was_prepared_anew_is_worked_through_anew(board: Board) -> None:
    board.run()
    gate_toml = board.folder / "etc" / "gate" / "gate.toml"
    calibrated = gate_toml.read_text() + "\n[thermometer]\noffset_cc = 12\n"
    gate_toml.write_text(calibrated)
    (board.boot / "meta-data").write_text("instance-id: gate-0000000000000000\n")
    board.run("arm")
    assert (board.machine / "armed").exists()
    assert board.run().returncode == 0
    assert "offset_cc" not in gate_toml.read_text()
    kept = [path.read_text() for path in gate_toml.parent.glob("gate.toml.before-*")]
    assert kept == [calibrated]


def test_a_token_that_was_written_again_is_erased_again(board: Board) -> None:
    board.run()
    (board.card / "token").write_text(f"{SECRET}\n")
    board.run("arm")
    assert not (board.card / "token").exists()


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    analyze = require("systemd-analyze", "systemd")
    unit = shutil.copy(ROOT / "deploy" / "firstboot" / "gate-firstboot.service", tmp_path)
    done = subprocess.run([analyze, "verify", str(unit)], check=False, capture_output=True, text=True)
    newer = ("RestartSteps", "RestartMaxDelaySec")  # since systemd 254; Debian 12 has 252, devices have 257
    lines = [line for line in done.stderr.splitlines() if "gate-firstboot.service" in line]
    assert [line for line in lines if not any(word in line for word in newer)] == []


# ---- The script itself, and the page -----------------------------------------------------------------------


def test_the_shell_scripts_are_clean() -> None:
    shellcheck = require("shellcheck", "shellcheck")
    subprocess.run([shellcheck, str(SCRIPT)], check=True)
    assert os.access(SCRIPT, os.X_OK)


def test_the_page_about_lights_is_the_code() -> None:
    written = (ROOT / "docs" / "leds.md").read_text()
    page = subprocess.run(
        [sys.executable, ROOT / "deploy/firstboot/led_page.py"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert written == page.stdout, "run: .venv/bin/python deploy/firstboot/led_page.py > docs/leds.md"


def test_the_last_signal_is_that_of_the_escalation() -> None:
    script = (ROOT / "deploy" / "escalate").read_text()
    on, off = re.findall(r'echo (\d+) >"\$led/delay_o(?:n|ff)"', script)
    table = (ROOT / "deploy" / "firstboot" / "led-states").read_text()
    assert f"gave_up\tblink {on} {off}\t" in table
