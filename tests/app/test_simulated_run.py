"""`gate run` with a section [simulation]: visitors come by themselves, and others can check each pulse."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.sim.pulses import Pulse, read_pulses
from gate.checked import EX_CONFIG, ConfigError
from gate.config import SimulationSection, parse_config
from gate.core.codes import Trust
from gate.core.effects import LightSignal, Show
from gate.core.inputs import PersonArrived, PersonLeft, Stopped
from gate.core.moment import Moment
from gate.core.texts import Key
from gate.demo.crowd import QUICK, Crowd, Sight
from gate.store.ledger import entries, verify
from tests.app.running_gate import SITE, a_policy
from tests.brokers import HOST, free_port, wait_for
from tests.chaos.accounts import passes

GATE_COMMAND = Path(sys.executable).with_name("gate")
NOW = Moment(0, 0, clock_trusted=True)
SMALLEST: dict[str, Any] = {
    "gate": {"site": SITE, "id": "g1"},
    "mqtt": {"host": HOST},
    "simulation": {"world_log": "/tmp/pulses.jsonl"},
}


class Installed:
    """A gate without hardware in a folder, and what it leaves behind."""

    def __init__(self, folder: Path, visitors_per_minute: int, *more: str, seed: int = 3) -> None:
        self.config = folder / "gate.toml"
        self.world_log = folder / "pulses.jsonl"
        self.ledger = folder / "state" / "ledger.db"
        self.log = folder / "log"
        self.config.write_text(
            "\n".join((
                "[gate]",
                f'site = "{SITE}"\nid = "g1"\npolicy = "{a_policy(folder)}"\nlang = "en"',
                f'state_dir = "{folder / "state"}"\nclock = "always_trusted"',
                *more,
                f'[mqtt]\nhost = "{HOST}"\nport = {free_port()}',
                f'[simulation]\nvisitors_per_minute = {visitors_per_minute}\nseed = {seed}',
                f'world_log = "{self.world_log}"',
            ))
        )  # fmt: skip

    @contextmanager
    def running(self) -> Iterator["subprocess.Popen[bytes]"]:
        command = [GATE_COMMAND, "run", "--config", self.config]
        with self.log.open("ab") as err, subprocess.Popen(command, stderr=err) as process:
            try:
                yield process
            finally:
                process.kill()

    def pulses(self) -> list[Pulse]:
        return list(read_pulses(self.world_log)) if self.world_log.exists() else []

    def wait_pulses(self, count: int, within_s: float = 30) -> None:
        wait_for(lambda: len(self.pulses()) >= count, within_s, f"{count} pulses; {self.said()}")

    def said(self) -> str:
        return self.log.read_text()

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(entry.body) for entry in entries(self.ledger)]


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.soak
def test_everybody_who_passes_is_in_both_books(tmp_path: Path) -> None:
    gate = Installed(tmp_path, 3000)
    with gate.running() as process:
        gate.wait_pulses(300)
        stop(process)
    events, pulses = gate.events(), gate.pulses()
    assert passes(events, [pulse.at_ms for pulse in pulses]) == passes([], [])
    decided = Counter(event["data"].get("stage") for event in events)
    assert decided["authorised"] == len(pulses)
    assert [pulse.pulse for pulse in pulses] == list(range(1, len(pulses) + 1))
    assert {pulse.pid for pulse in pulses} == {process.pid}
    assert events[0]["data"]["version"].endswith("+simulated"), "nobody takes these records for real ones"
    assert events[-1]["type"] == "hg.gate.stopped.v1"
    assert verify(gate.ledger).ok
    assert "Traceback" not in gate.said()
    # Not all are alike.
    closed = Counter(event["data"].get("result") for event in events)
    assert min(decided["refused"], decided["undecided"], closed["not_passed"]) > 0, (decided, closed)
    assert closed["passed"] > 0.8 * len(pulses)
    assert closed["forced"] == 0


def test_killed_at_any_moment_the_books_agree(tmp_path: Path) -> None:
    gate = Installed(tmp_path, 6000)
    pids = []
    for _ in range(3):
        with gate.running() as process:
            gate.wait_pulses(len(gate.pulses()) + 30)
            process.kill()
            process.wait(5)
            pids.append(process.pid)
    pulses = gate.pulses()
    found = passes(gate.events(), [pulse.at_ms for pulse in pulses])
    assert (found.unrecorded, found.unopened) == (0, ())
    assert [pulse.pulse for pulse in pulses] == list(range(1, len(pulses) + 1))
    assert list(dict.fromkeys(pulse.pid for pulse in pulses)) == pids
    assert verify(gate.ledger).ok
    # The visitors of the second run do not come with passes that were used in the first.
    assert all(event["data"].get("stage") != "referred" for event in gate.events())


def test_with_trust_files_the_counter_of_the_simulation_is_a_stranger(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    lines = ("[[keys]]", 'issuer = "county"', 'issuer_name = "County"', 'purposes = ["visitor"]')
    keys.write_text("\n".join((*lines, f'public_key = "{"1" * 64}"')))
    gate = Installed(tmp_path, 3000, f'trust_files = ["{keys}"]')
    with gate.running() as process:
        wait_for(lambda: "serving" in gate.said(), 20, "the start")
        wait_for(lambda: len(gate.events()) > 30, 20, "visits")
        stop(process)
    assert gate.pulses() == []
    assert {event["data"].get("stage") for event in gate.events()} >= {"referred"}


# Configuration


def problems(changes: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as raised:
        parse_config("gate.toml", SMALLEST | changes)
    return raised.value.problems


def test_the_smallest_simulation_needs_no_hardware() -> None:
    config = parse_config("gate.toml", SMALLEST)
    assert config.simulation == SimulationSection(Path("/tmp/pulses.jsonl"), 60, 1)
    assert parse_config("gate.toml", SMALLEST | {"pins": {"factory": "mock", "relay": 18}}).simulation


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ({}, "simulation.world_log: is required and missing"),
        ({"visitors_per_minute": 0}, "simulation.visitors_per_minute: Input should be greater than or equal"),
        ({"visitors_per_minute": 6001}, "simulation.visitors_per_minute: Input should be less than or equal"),
        ({"seed": -1}, "simulation.seed: Input should be greater than or equal to 0"),
        ({"sed": 1}, "simulation.sed: unknown key; did you mean 'seed'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it(section: dict[str, Any], problem: str) -> None:
    given = section and {"world_log": "/tmp/pulses.jsonl", **section}
    (said,) = problems({"simulation": given})
    assert said.startswith(problem)


def test_real_hardware_beside_it_is_refused() -> None:
    said = problems({"pins": {"relay": 18}, "camera": {"device": "/dev/v4l/by-id/cam"}})
    assert [line.split(":")[0] for line in said] == ["pins.factory", "camera.device"]
    assert problems({"camera": {"source": "picamera2"}})


def test_a_world_log_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    gate = Installed(tmp_path, 60)
    gate.config.write_text(gate.config.read_text().replace(str(gate.world_log), str(tmp_path / "no" / "log")))
    done = subprocess.run(
        [GATE_COMMAND, "run", "--config", gate.config], capture_output=True, text=True, check=False
    )
    assert done.returncode == EX_CONFIG
    assert done.stderr == (
        f"{gate.config}: simulation.world_log: there is no folder {tmp_path / 'no'}; make it first\n"
    )
    assert not gate.ledger.exists()


# The visitors


def the_draw(tmp_path: Path, seed: int) -> list[object]:
    data = {**SMALLEST, "gate": {**SMALLEST["gate"], "state_dir": str(tmp_path)}}
    data["simulation"] = {"world_log": str(tmp_path / "log"), "seed": seed, "visitors_per_minute": 600}
    crowd = Crowd(parse_config("gate.toml", data), Trust())
    crowd._gate.close()
    visitors = crowd._visitors()
    return [next(visitors) for _ in range(500)]


def test_who_comes_follows_from_the_seed(tmp_path: Path) -> None:
    assert the_draw(tmp_path, 1) == the_draw(tmp_path, 1)
    assert the_draw(tmp_path, 1) != the_draw(tmp_path, 2)
    assert set(the_draw(tmp_path, 1)) >= set(QUICK)
    assert sum(QUICK.values()) == 1000


def test_what_was_shown_to_somebody_else_is_not_heeded() -> None:
    sight = Sight()
    sight.observe(PersonLeft(), Show(Key.PASS_PLEASE, LightSignal.GO), NOW)
    sight.observe(PersonArrived(), None, NOW)
    sight.observe(PersonArrived(), Show(Key.WELCOME, LightSignal.WAIT), NOW)
    assert [sight.screen(0.01) for _ in range(2)] == [Key.WELCOME, None]
    assert sight.until(PersonArrived, 0.01)
    assert not sight.until(PersonLeft, 0.01)


def test_nobody_waits_for_a_gate_that_has_stopped() -> None:
    sight = Sight()
    sight.observe(Stopped(), None, NOW)
    assert sight.over
    assert not sight.until(PersonArrived, 60)
    assert sight.screen(60) is None
