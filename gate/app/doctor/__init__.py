"""The doctor: examines an installed gate and says of each part its status, value, limit and what to do.

It may run beside a running gate: then it opens no device, and reads the ledger as the sender does. All parts
are examined at the same time, each in a thread with a bound, so that the whole takes at most 20 s.
"""

from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final

from gate.app.application import World
from gate.app.board import Board
from gate.app.doctor import broker, centre, devices, in_use, installed, machine, raspberry_pi
from gate.app.doctor.check import (
    Check,
    Part,
    Running,
    Status,
    as_dict,
    as_text,
    exit_status,
    skipped,
    summary,
)
from gate.app.hardware import open_thermometer_bus
from gate.app.records import LEDGER_NAME
from gate.config import Config, GateSection
from gate.core.moment import Moment
from gate.shell.clock import SystemClock, is_synchronised

__all__ = ["Check", "Status", "as_dict", "as_text", "examine", "exit_status", "summary"]

_UNUSABLE: Final = "the configuration cannot be used"


def examine(config_path: Path, world: World | None = None, board: Board | None = None) -> Iterator[Check]:
    """Yield one check after the other, always the same ones in the same order, within 20 s.

    `world` replaces hardware and clock, as for the application; `board` the machine's own files. No fault of
    the gate is raised.
    """
    world, board = world or World(), board or Board()
    found = machine.Found()
    reading = Part(machine.CONFIGURATION, partial(machine.configuration, config_path, found), 3)
    yield from Running(reading).checks()
    config = found.config
    parts = (
        _without_config(config_path, world, board)
        if config is None
        else _with_config(config, config_path, world, board)
    )
    running = [Running(part) for part in parts]
    for part in running:
        yield from part.checks()


def _with_config(config: Config, path: Path, world: World, board: Board) -> Iterator[Part]:
    now = _now(config, world)
    by_decree = config.gate.clock == "always_trusted"
    state_dir = config.gate.state_dir
    yield Part(machine.CLOCK, partial(_clock, now, path, by_decree=by_decree), 2)
    yield Part(
        machine.STORAGE, partial(machine.storage, state_dir), 5, "look at the disk of the state folder"
    )
    yield Part(
        machine.LEDGER,
        partial(machine.ledger, config, now),
        10,
        f"it is large; check it with: gate ledger verify {state_dir / LEDGER_NAME}",
        Status.WARNING,
    )
    advice = "look at the disk of the state folder"
    yield Part(machine.DOCUMENTS, partial(machine.documents, config, now), 5, advice)
    yield Part(centre.CENTRE, partial(centre.centre, config, now), 5, advice)
    yield _decoder()
    gate, why_not = machine.hands_off(state_dir)
    yield Part((gate.name,), lambda: [gate], 1)
    simulated = config.simulation is not None
    yield from _machine(board, config, running=simulated or why_not is not None)
    if simulated:
        yield _skipped(devices.NAMES, "all hardware is simulated")
    elif why_not is not None:
        yield Part(devices.NAMES, partial(in_use.devices, state_dir, why_not), 10)
    else:
        yield from _devices(config, world)
    advice = f"check the network and the name server of this machine: {config.mqtt.host} takes too long"
    yield Part(broker.BROKER, partial(broker.broker, config, now), 9, advice)


def _machine(board: Board, config: Config | None, *, running: bool) -> Iterator[Part]:
    advice = "restart the machine: it is too busy, or its card is failing"
    yield Part(installed.INSTALLED, partial(installed.installed, board, config), 10, advice)
    examined = partial(raspberry_pi.raspberry_pi, board, config, running=running)
    yield Part(raspberry_pi.RASPBERRY_PI, examined, 15, advice)


def _devices(config: Config, world: World) -> Iterator[Part]:
    open_bus = world.open_bus or partial(open_thermometer_bus, config.thermometer)
    yield Part(devices.PINS, partial(devices.pins, config.pins, world.pin_factory), 5)
    advice = "the bus hangs: unplug the part and plug it in again, and check SDA and SCL for shorts"
    yield Part(devices.THERMOMETER, partial(devices.thermometer, config.thermometer, open_bus), 12, advice)
    advice = "unplug the camera and plug it in again; if that does not help, restart the machine"
    yield Part(devices.CAMERA, partial(devices.camera, config.camera, world.seed), 16, advice)


def _without_config(path: Path, world: World, board: Board) -> Iterator[Part]:
    default = next(f.default for f in fields(GateSection) if f.name == "state_dir")
    assert isinstance(default, Path)
    folder, space = machine.STORAGE
    yield Part(machine.CLOCK, partial(_clock, _now(None, world), path, by_decree=False), 2)
    yield _skipped((folder,), _UNUSABLE)
    yield Part((space,), lambda: [machine.disk_space(default)], 5)
    yield _skipped((*machine.LEDGER, *machine.DOCUMENTS, *centre.CENTRE), _UNUSABLE)
    yield _decoder()
    yield _skipped((machine.GATE,), _UNUSABLE)
    yield from _machine(board, None, running=True)  # nobody can tell
    yield _skipped((*devices.NAMES, *broker.BROKER), _UNUSABLE)


def _clock(now: Moment, config_path: Path, *, by_decree: bool) -> Iterator[Check]:
    return machine.clock(now, by_decree=by_decree, not_before=(machine.software(), config_path))


def _decoder() -> Part:
    return Part(
        machine.DECODER, machine.decoder, 12, "restart the machine: it is too busy, or its card is failing"
    )


def _skipped(names: tuple[str, ...], why: str) -> Part:
    return Part(names, lambda: [skipped(name, why) for name in names], 1)


def _now(config: Config | None, world: World) -> Moment:
    by_decree = config is not None and config.gate.clock == "always_trusted"
    clock = world.clock or SystemClock((lambda: True) if by_decree else is_synchronised)
    return clock.now()
