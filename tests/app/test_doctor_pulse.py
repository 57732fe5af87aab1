"""The one test of the doctor that moves something: never unasked, never beside a gate, and what it finds."""

import fcntl
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pytest import fixture, mark, raises

from drivers.pins import open_pin_factory
from drivers.sim.pins import SimPin, SimTurnstileArm, levels
from gate.app.application import claim
from gate.app.doctor import Check, Status
from gate.app.doctor.pulse import InUseError, pulse
from gate.cli import main as gate
from gate.config import Config, PinsSection, load_policy
from gate.core.policy import Policy
from tests.app.test_doctor import a_config, write_config

RELAY, PASSAGE = 17, 27


@fixture
def pins() -> Iterator[Any]:
    factory = open_pin_factory("mock")
    yield factory
    factory.close()


def a_policy(unlock_ms: int = 150) -> Policy:
    policy = load_policy("township-routine")
    return replace(policy, timing=replace(policy.timing, unlock_ms=unlock_ms))


class Somebody:
    """Who stands at the gate: answers in turn, and pushes the arm some times when it comes free."""

    def __init__(self, pins: Any, *answers: bool, pushes: int = 1) -> None:
        self.questions: list[str] = []
        self._answers = list(answers)
        self._pushes = pushes
        self._arm = SimTurnstileArm(pins, RELAY, PASSAGE, turn_ms=60, on_pulse=self._come)
        self._threads: list[threading.Thread] = []

    def _come(self) -> None:
        self._threads.append(threading.Thread(target=self._push))
        self._threads[-1].start()

    def _push(self) -> None:
        for _ in range(self._pushes):
            self._arm.force()

    def ask(self, question: str) -> bool:
        self.questions.append(question)
        return self._answers.pop(0)

    def gone(self) -> None:
        for thread in self._threads:
            thread.join(10)


def given(
    folder: Path, pins: Any, *answers: bool, pushes: int = 1, passage_s: float = 10
) -> tuple[list[Check], Somebody]:
    somebody = Somebody(pins, *answers, pushes=pushes)
    config: Config = replace(a_config(folder), pins=PinsSection(relay=RELAY, passage=PASSAGE))
    checks = list(pulse(config, a_policy(), somebody.ask, pin_factory=pins, passage_s=passage_s))
    somebody.gone()
    return checks, somebody


def test_one_pulse_one_passage_and_a_person_who_is_content(tmp_path: Path, pins: Any) -> None:
    checks, somebody = given(tmp_path, pins, True, True)
    assert [(check.name, check.status) for check in checks] == [
        ("relay", Status.OK), ("passage", Status.OK), ("arm", Status.OK),
    ]  # fmt: skip
    assert levels(pins, RELAY).count(True) == 1
    assert "GPIO17 will free the arm for 150 ms" in somebody.questions[0]
    assert list(tmp_path.iterdir()) == []


def test_nothing_moves_without_a_yes(tmp_path: Path, pins: Any) -> None:
    checks, somebody = given(tmp_path, pins, False)
    assert [check.status for check in checks] == [Status.WARNING, Status.SKIPPED, Status.SKIPPED]
    assert len(somebody.questions) == 1
    assert True not in levels(pins, RELAY)


@mark.parametrize(
    ("pushes", "status", "value"), [(0, "failed", "not seen"), (2, "warning", "counted 2 times")]
)
def test_a_passage_contact_that_does_not_count_one(
    tmp_path: Path, pins: Any, pushes: int, status: str, value: str
) -> None:
    checks, _ = given(tmp_path, pins, True, True, pushes=pushes, passage_s=10 if pushes else 0.2)
    assert (checks[1].status, checks[1].value) == (Status(status), value)


def test_the_person_has_the_last_word(tmp_path: Path, pins: Any) -> None:
    checks, _ = given(tmp_path, pins, True, False)
    assert (checks[2].name, checks[2].status) == ("arm", Status.FAILED)


def test_a_relay_that_stays_on_is_said_and_nobody_is_sent_through(tmp_path: Path, pins: Any) -> None:
    somebody = Somebody(pins, True)

    def break_the_pin() -> None:
        pins.pin(RELAY).broken = True

    config = replace(a_config(tmp_path), pins=PinsSection(relay=RELAY, passage=PASSAGE))

    def stick() -> None:
        threading.Timer(0.02, break_the_pin).start()

    pins.pin(RELAY).on_rise = stick
    checks = list(pulse(config, a_policy(), somebody.ask, pin_factory=pins))
    pins.pin(RELAY).broken = False
    assert [(check.status, check.value) for check in checks] == [
        (Status.FAILED, "it stays on"), (Status.SKIPPED, "see relay"), (Status.SKIPPED, "see relay"),
    ]  # fmt: skip
    assert "switch the relay's supply off now" in checks[0].advice


class ShortedPin(SimPin):
    """An output that a short holds to ground."""

    def _set_state(self, value: float) -> None:
        super()._set_state(0 * value)


def test_a_relay_that_does_not_come_on(tmp_path: Path, pins: Any) -> None:
    pins.pin(RELAY).__class__ = ShortedPin
    config = replace(a_config(tmp_path), pins=PinsSection(relay=RELAY, passage=PASSAGE))
    checks = list(pulse(config, a_policy(), lambda _: True, pin_factory=pins))
    assert [(check.status, check.value) for check in checks] == [
        (Status.FAILED, "it does not come on"), (Status.SKIPPED, "see relay"), (Status.SKIPPED, "see relay"),
    ]  # fmt: skip


def test_a_pin_that_cannot_be_had(tmp_path: Path, pins: Any) -> None:
    pins.pin(RELAY).broken = True
    checks, _ = given(tmp_path, pins, True)
    pins.pin(RELAY).broken = False
    assert [check.status for check in checks] == [Status.FAILED, Status.SKIPPED, Status.SKIPPED]
    assert "turnstile relay on GPIO17" in checks[0].value


def test_never_beside_a_gate(tmp_path: Path, pins: Any) -> None:
    config = a_config(tmp_path)
    with claim(tmp_path), raises(InUseError, match="systemctl stop gate"):
        list(pulse(config, a_policy(), lambda _: True, pin_factory=pins))
    assert not pins.pins


def test_no_gate_starts_meanwhile(tmp_path: Path, pins: Any) -> None:
    (tmp_path / "lock").touch()

    def ask(_: str) -> bool:
        with (tmp_path / "lock").open("w") as lock, raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False

    assert len(list(pulse(a_config(tmp_path), a_policy(), ask, pin_factory=pins))) == 3
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


# The command


def with_mock_pins(folder: Path) -> Path:
    return write_config(folder, extra='[pins]\nfactory = "mock"')


def test_answers_that_are_piped_in_do_not_count(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        gate, ["doctor", "--pulse", "--config", str(with_mock_pins(tmp_path))], input="y\ny\n"
    )
    assert result.exit_code == 2
    assert "run it in a terminal" in result.output


def at_a_terminal(*arguments: str, answer: str) -> tuple[int, str]:
    """Run a command with a terminal of its own as its standard input."""
    here, there = pty.openpty()
    with subprocess.Popen(
        [Path(sys.executable).with_name("gate"), *arguments],
        stdin=there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        os.close(there)
        os.write(here, answer.encode())
        output, _ = process.communicate(timeout=60)
    os.close(here)
    return process.returncode, output


def test_at_a_terminal_it_asks_and_no_is_no(tmp_path: Path) -> None:
    path = with_mock_pins(tmp_path)
    status, output = at_a_terminal("doctor", "--pulse", "--config", str(path), answer="n\n")
    assert "will free the arm for 300 ms" in output
    assert "not agreed to, nothing was moved" in output
    assert status == 1


def test_it_says_when_there_is_nothing_to_test(tmp_path: Path) -> None:
    path = write_config(tmp_path, extra=f'[simulation]\nworld_log = "{tmp_path / "world.jsonl"}"')
    path.write_text(path.read_text().replace('[camera]\ndevice = "/dev/v4l/by-id/none"', ""))
    status, output = at_a_terminal("doctor", "--pulse", "--config", str(path), answer="y\n")
    assert (status, "there is no relay to test" in output) == (2, True)
    status, output = at_a_terminal("doctor", "--pulse", "--config", str(tmp_path / "none"), answer="y\n")
    assert status == 78
