"""Checks of devices that a running gate has in use: nobody else may touch them, so it is asked itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gate.app.desk import DeskError, ask
from gate.app.doctor.check import Check, Status, skipped
from gate.app.doctor.devices import CAMERA, NAMES, PINS, THERMOMETER
from gate.core.inputs import Device
from gate.shell.desk import SOCKET_NAME

_OF: Final = {
    PINS[0]: (Device.PRESENCE, Device.TURNSTILE, Device.FIRE_CONTACT, Device.BUTTONS, Device.LIGHTS),
    THERMOMETER[0]: (Device.THERMOMETER,),
    CAMERA[0]: (Device.CAMERA,),
}
_ADVICE: Final = "this says why: systemctl stop gate, gate doctor, systemctl start gate"


def devices(state_dir: Path, why_not: str) -> Iterator[Check]:
    """Yield the checks of `doctor.devices`: failed where the gate itself says so, else skipped."""
    failed = _failed(state_dir)
    for name in NAMES:
        here = [device.replace("_", " ") for device in _OF.get(name, ()) if device in failed]
        if here:
            yield Check(name, Status.FAILED, f"the running gate has lost: {', '.join(here)}", advice=_ADVICE)
        else:
            yield skipped(name, why_not)


def _failed(state_dir: Path) -> frozenset[str]:
    """Return the devices that a gate says do not work, none where it cannot be asked."""
    try:
        said = ask(state_dir / SOCKET_NAME, {"show": True}).get("failed")
    except DeskError:
        return frozenset()
    return frozenset(map(str, said)) if isinstance(said, list) else frozenset()
