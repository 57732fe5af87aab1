"""deploy/escalate: a gate that cannot be kept running reboots three times, then stays off and says so.

systemctl is a stand-in that answers from a folder and writes down what it was asked to do; the real one, with
real reboots, is in tests/systemd.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gate.app.updating.attempt import Stage
from tests.brokers import require

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/escalate"
# What the script may use, besides its shell: no clock among it.
PROGRAMS = ("cat", "cut", "grep", "mv", "sync")
SYSTEMCTL = """#!/bin/sh
case "$*" in
    show*--property=*) name=${3#--property=}; cat "$ANSWERS/$name" ;;
    *) echo "$*" >>"$ANSWERS/done" ;;
esac
"""
REBOOT = "--no-block reboot\n"


class Board:
    """A machine on which the gate has failed, with a LED and a state folder that outlast its reboots."""

    def __init__(self, folder: Path) -> None:
        self.answers, self.state, self.led = folder / "answers", folder / "state", folder / "leds/ACT"
        self.bin, self.uptime = folder / "bin", folder / "uptime"
        self.update = folder / "attempt.json"
        for each in (self.answers, self.state, self.led, self.bin):
            each.mkdir(parents=True)
        (self.bin / "systemctl").write_text(SYSTEMCTL)
        (self.bin / "systemctl").chmod(0o755)
        for program in PROGRAMS:
            (self.bin / program).symlink_to(shutil.which(program) or f"/bin/{program}")
        for name in ("trigger", "delay_on", "delay_off"):
            (self.led / name).write_text("mmc0")
        self.gate("failed", 1)
        self.boot(30)

    def gate(self, state: str, status: int) -> None:
        (self.answers / "ActiveState").write_text(f"{state}\n")
        (self.answers / "ExecMainStatus").write_text(f"{status}\n")

    def boot(self, up_s: int) -> None:
        """Start anew, and let so much time pass until the gate has failed."""
        (self.answers / "done").unlink(missing_ok=True)
        self.uptime.write_text(f"{up_s}.25 {up_s * 3}.11\n")

    def escalate(self, *words: str, expect_error: bool = False) -> str:
        environment = {
            "PATH": str(self.bin),
            "ANSWERS": str(self.answers),
            "STATE_DIRECTORY": str(self.state),
            "UPTIME_FILE": str(self.uptime),
            "LEDS": str(self.led.parent),
            "UPDATE": str(self.update),
        }
        done = subprocess.run(
            ["/bin/sh", SCRIPT, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (done.returncode, bool(done.stderr)) == (0, expect_error), done.stderr
        return done.stdout

    def rebooted(self) -> bool:
        done = self.answers / "done"
        return done.exists() and done.read_text() == REBOOT

    def blinks(self) -> bool:
        return [(self.led / name).read_text() for name in ("trigger", "delay_on", "delay_off")] == [
            "timer\n",
            "100\n",
            "100\n",
        ]


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_three_reboots_then_it_stays_off_and_says_so(board: Board) -> None:
    for number in (1, 2, 3):
        board.boot(40)
        said = board.escalate()
        assert f"reboot {number} of at most 3" in said
        assert board.rebooted()
        assert not board.blinks()
    for _ in range(3):  # also after a person has pulled the plug
        board.boot(40)
        said = board.escalate()
        assert "<2>the gate stays off: 3 reboots have not helped" in said
        assert "systemctl restart gate" in said
        assert not board.rebooted()
        assert board.blinks()


def test_a_boot_that_has_lasted_for_an_hour_ends_the_row(board: Board) -> None:
    for _ in range(3):
        board.boot(40)
        board.escalate()
    board.boot(3599)
    board.escalate()
    assert not board.rebooted()
    board.boot(3600)
    assert "reboot 1 of" in board.escalate()
    assert board.rebooted()


def test_never_more_than_three_within_an_hour_whatever_the_boots_last(board: Board) -> None:
    """Time is what the boots have lasted together; no clock is asked, so that none can be wrong."""
    reboots: list[int] = []
    now = 0
    for up_s in (40, 3000, 50, 3700, 40, 40, 40, 3601, 10, 10, 10, 3599, 3600, 5):
        board.boot(up_s)
        board.escalate()
        now += up_s
        if board.rebooted():
            reboots.append(now)
    assert len(reboots) > 6
    for first, fourth in zip(reboots, reboots[3:], strict=False):
        assert fourth - first > 3600


def test_a_failure_after_which_systemd_starts_it_again_is_none(board: Board) -> None:
    board.gate("activating", 1)
    assert "nothing to do" in board.escalate()
    assert not board.rebooted()
    assert not list(board.state.iterdir())


def test_a_wrong_configuration_is_no_reason_to_reboot(board: Board) -> None:
    board.gate("failed", 78)
    assert "gate check-config" in board.escalate()
    assert not board.rebooted()
    assert board.blinks()
    assert not list(board.state.iterdir())


@pytest.mark.parametrize("note", ["", "\0\0", '{"stage":"ended"}', '{"order": {}}'])
def test_a_damaged_note_of_an_update_keeps_nobody_from_rebooting(board: Board, note: str) -> None:
    board.update.write_text(note)
    board.escalate()
    assert board.rebooted()


def test_an_update_to_a_version_that_refuses_the_configuration_goes_on(board: Board) -> None:
    board.update.write_text(json.dumps({"stage": "checking"}))
    board.gate("failed", 78)
    assert "an update is at work" in board.escalate()


@pytest.mark.parametrize("stage", Stage)
def test_an_update_that_is_open_goes_on_and_is_not_cut_off(board: Board, stage: Stage) -> None:
    board.update.write_text(json.dumps({"order": {"version": "1"}, "stage": stage, "detail": ""}))
    said = board.escalate()
    if stage is Stage.ENDED:
        assert board.rebooted()
    else:
        assert "an update is at work" in said
        assert (board.answers / "done").read_text() == "--no-block start gate-update.service\n"
        assert not list(board.state.iterdir())
        assert board.blinks()


@pytest.mark.parametrize("content", ["", "many\n", "-1\n", "99\n", "3"])
def test_a_count_that_cannot_be_read_counts_as_the_most(board: Board, content: str) -> None:
    (board.state / "reboots").write_text(content)
    assert "stays off" in board.escalate()
    assert not board.rebooted()


def test_reboots_that_cannot_be_counted_are_not_made(board: Board) -> None:
    board.state.rmdir()
    board.state.write_text("not a folder: nothing can be written here, not even by root")
    assert "reboots cannot be counted" in board.escalate(expect_error=True)
    assert not board.rebooted()
    assert board.blinks()


def test_once_the_gate_serves_the_led_shows_the_card_again(board: Board) -> None:
    board.gate("failed", 78)
    board.escalate()
    board.escalate("over")
    assert (board.led / "trigger").read_text() == "mmc0\n"
    assert not board.rebooted()


def test_what_else_the_led_shows_is_left_alone(board: Board) -> None:
    shown = {"trigger": "timer", "delay_on": "1000", "delay_off": "1000"}
    for name, value in shown.items():
        (board.led / name).write_text(value)
    board.escalate("over")
    assert {name: (board.led / name).read_text() for name in shown} == shown
    for name in ("delay_on", "delay_off"):  # as the kernel does while another trigger is at work
        (board.led / name).unlink()
    board.escalate("over")
    assert (board.led / "trigger").read_text() == "timer"


def test_an_older_kernel_s_led_blinks_too_and_a_machine_without_one_does_without(board: Board) -> None:
    older = board.led.with_name("led0")
    board.led.rename(older)
    board.led = older
    board.gate("failed", 78)
    board.escalate()
    assert board.blinks()
    shutil.rmtree(older)
    assert "stays off" in board.escalate()
    board.escalate("over")


def test_shellcheck_finds_nothing() -> None:
    subprocess.run([require("shellcheck", "shellcheck"), str(SCRIPT)], check=True)


def test_it_refuses_to_run_without_a_place_to_count(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", SCRIPT], env={"PATH": os.defpath}, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode != 0
    assert "is set by systemd" in done.stderr
