"""What config.txt does to the pins before the gate runs, held against what the gate does with them."""

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from drivers.pins import ALLOWED_PINS, open_pin_factory
from gate.app.hardware import open_pins
from gate.config import PinsSection, parse_config
from tests.deploy.cards import ROOT, STOCK, Desk, program, stock_folder

program()
card_files = sys.modules["card_files"]

FRAGMENT = (ROOT / "deploy" / "pi" / "config.txt").read_text()
# Every part that can be wired at once: a beam and a distance sensor exclude each other only in use.
EVERY_PART = {
    field.name: pin
    for field, pin in zip(
        (field for field in fields(PinsSection) if field.name not in {"factory", "beam"}),
        (pin for pin in ALLOWED_PINS if pin not in card_files.CONSOLE_PINS),
        strict=False,
    )
}


def gpio_lines(config_txt: str) -> dict[int, str]:
    """Read the `gpio=` lines as the firmware does: sections first, then pins and ranges of pins."""
    section, states = "all", {}
    for line in config_txt.splitlines():
        if found := re.fullmatch(r"\[(.+)\]", line.strip()):
            section = found[1]
        elif found := re.fullmatch(r"gpio=([0-9,-]+)=(.+)", line.strip()):
            assert section == "all", "a line that not every board reads"
            for part in found[1].split(","):
                first, _, last = part.partition("-")
                states |= dict.fromkeys(range(int(first), int(last or first) + 1), found[2])
    return states


@pytest.fixture
def opened_outputs() -> Iterator[set[int]]:
    """The pins that the gate itself drives when every part is wired."""
    data = {"gate": {"site": "s", "id": "g"}, "mqtt": {"host": "h"}, "camera": {"source": "picamera2"}}
    config = parse_config("test", data | {"pins": {"factory": "mock", **EVERY_PART}})
    factory = open_pin_factory("mock")
    opened = open_pins(config, lambda _: None, factory)
    yield {pin for pin in EVERY_PART.values() if factory.pin(pin).function == "output"}
    for close in reversed(opened.closing):
        close.close()


def test_every_output_of_the_gate_is_low_before_it_runs(opened_outputs: set[int]) -> None:
    states = gpio_lines(card_files.fragment(EVERY_PART))
    assert states == dict.fromkeys(opened_outputs, "op,dl")
    assert EVERY_PART["relay"] in opened_outputs


def test_the_fragment_as_it_stands_is_that_of_the_default_pins() -> None:
    default = PinsSection().relay
    assert gpio_lines(FRAGMENT) == {default: "op,dl"}
    assert card_files.fragment({"relay": default}) == FRAGMENT


def test_the_limits_are_those_of_the_gate() -> None:
    assert card_files.ALLOWED_PINS == ALLOWED_PINS
    assert PinsSection().relay == card_files.RELAY
    assert card_files.pins_of("") == {"relay": PinsSection().relay}


@pytest.mark.parametrize("hardware", ["", "[pins]\nrelay = 26\ngreen = 16\nred = 20\nfire = 12\n"])
def test_the_card_has_the_pins_of_its_own_configuration(tmp_path: Path, hardware: str) -> None:
    desk, folder = Desk(tmp_path / "desk"), stock_folder(tmp_path / "bootfs")
    (desk.folder / "hardware.toml").write_text(f'[camera]\nsource = "picamera2"\n{hardware}')
    assert desk.prepare(folder).returncode == 0
    text = (folder / "config.txt").read_text()
    pins = card_files.pins_of(hardware)
    assert gpio_lines(text) == {pins[part]: "op,dl" for part in ("relay", "green", "red") if part in pins}
    gate_toml = (folder / "health-gate" / "gate.toml").read_text()
    assert f"relay = {pins['relay']}" in gate_toml or pins["relay"] == PinsSection().relay


def test_what_stands_in_config_txt_stays_and_ours_comes_once_and_last(tmp_path: Path) -> None:
    desk, folder = Desk(tmp_path / "desk"), stock_folder(tmp_path / "bootfs")
    for relay in (22, 23):
        (desk.folder / "hardware.toml").write_text(
            f'[camera]\nsource = "picamera2"\n[pins]\nrelay = {relay}\n'
        )
        assert desk.prepare(folder).returncode == 0
    text = (folder / "config.txt").read_text()
    stock = STOCK["config.txt"].decode().replace("\r\n", "\n").strip()
    assert text.startswith(stock)
    assert gpio_lines(text) == {23: "op,dl"}
    ours = text[len(stock) :]
    assert ours.count(card_files.BEGIN) == ours.count(card_files.END) == 1
    assert "[all]" in ours[: ours.index("gpio=")]


def test_thermometer_camera_and_watchdog_are_switched_on() -> None:
    lines = FRAGMENT.splitlines()
    assert {"dtparam=i2c_arm=on", "camera_auto_detect=1", "dtparam=watchdog=on"} <= set(lines)
    assert lines[0] == "[all]"
