"""What is shown, one function each: it returns a sentence on what was seen, and raises BenchError otherwise.

Under emulation nothing here is asked to be quick: only what comes before what, and "within so many seconds".
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from board import CAMERA, STUB_NAME, BenchError, i2c_bus, run, wait_for
from place import NORMAL_CC, Place
from smbus2 import SMBus

from drivers.mlx90614 import ADDRESS, CONFIG1, OBJECT, _centi_degrees

FEVER_CC: Final = 3860
UNIT: Final = "gate.service"


def check(condition: object, what: str) -> None:
    """Raise BenchError unless the condition holds."""
    if not condition:
        raise BenchError(what)


def unit(name: str) -> str:
    """Return a property of the gate's unit."""
    return run("systemctl", "show", "--value", "-p", name, UNIT).strip()


def visitor_passes(place: Place) -> str:
    """Code, temperature, mask: the ledger, then the relay, then the arm."""
    since, pulses = len(place.events.all), len(place.relay.pulses)
    place.come(place.issuer.issue())
    with place.pressed("mask_on"):
        decided = place.events.wait("visit.decided", since)
    data = decided["data"]
    check(data["stage"] == "authorised", f"was {data['stage']}: {data['findings']} {data['evidence']}")
    wait_for(lambda: len(place.relay.pulses) > pulses, 30, "a pulse of the relay")
    rose_us = place.trace.synced_before_last_rise(data["clock"]["mono_ns"])
    check(rose_us is not None, "the relay rose before the record was on the disk")
    place.leave()
    with place.pressed("passage"):
        place.events.wait("visit.closed", since, visit=data["visit"], result="passed")
    wait_for(lambda: not place.relay.high, 30, "the relay to fall")
    check(len(place.relay.pulses) == pulses + 1, "more than one pulse for one visitor")
    (measured,) = data["evidence"]["temperature"]
    return f"{measured['value_cc'] / 100:.2f} C; decided, on the disk, relay {rose_us} us later; passed"


def _turned_away(place: Place, code: str, body_cc: int, reasons: set[str]) -> str:
    since, pulses = len(place.events.all), len(place.relay.pulses)
    place.come(code, body_cc)
    with place.pressed("mask_on"):
        data = place.events.wait("visit.decided", since)["data"]
    place.leave()
    place.events.wait("visit.closed", since, visit=data["visit"])
    found = {finding["reason"] for finding in data["findings"]}
    check(data["stage"] == "refused" and reasons & found, f"was {data['stage']}: {found}")
    check(len(place.relay.pulses) == pulses, "the relay moved")
    return f"refused ({', '.join(sorted(reasons & found))}, {data['disposition']}), relay still"


def fever(place: Place) -> str:
    """Warm twice."""
    return _turned_away(place, place.issuer.issue(), FEVER_CC, {"temperature_fever"})


def forged_code(place: Place) -> str:
    """A pass that the counter never signed."""
    return _turned_away(place, place.issuer.forge(), NORMAL_CC, {"bad_signature"})


def _thermometer_fails(place: Place, fault: str, word: str) -> str:
    """A visitor whom it cannot measure is referred; it is on record as failed, and back for the next one."""
    since, pulses = len(place.events.all), len(place.relay.pulses)
    place.sensor(fault)
    place.come(place.issuer.issue())
    with place.pressed("mask_on"):
        data = place.events.wait("visit.decided", since, within_s=120)["data"]
    failed = place.events.wait("device.failed", since, device="thermometer")
    place.leave()
    place.events.wait("visit.closed", since, visit=data["visit"])
    measured = data["evidence"]["temperature"][-1]
    check(data["stage"] == "referred", f"was {data['stage']}, {data['verdict']}")
    check(measured.get("unmeasured") == word, f"measured {measured}")
    check(len(place.relay.pulses) == pulses, "the relay moved")
    place.sensor(None)
    since = len(place.events.all)
    visitor_passes(place)
    place.events.wait("device.recovered", since, device="thermometer")
    return f"referred, failed on record ({failed['data']['problem'][:40]}), recovered"


def sensor_unplugged(place: Place) -> str:
    """Nobody answers at its address."""
    return _thermometer_fails(place, "nack", "bus_error")


def sensor_check_byte(place: Place) -> str:
    """Every answer fails its check byte (PEC)."""
    return _thermometer_fails(place, "bad_pec", "pec_error")


def camera_unplugged(place: Place) -> str:
    """The writer behind the camera is killed, and comes back."""
    since = len(place.events.all)
    place.unplug_camera()
    failed = place.events.wait("device.failed", since, within_s=90, device="camera")
    place.plug_camera()
    place.events.wait("device.recovered", since, within_s=90, device="camera")
    visitor_passes(place)
    return f"failed on record ({failed['data']['problem'][:50]}), back, a visitor passed"


def fire_contact(place: Place) -> str:
    """The loop opens: the arm is held open, then it is recorded; it closes: the arm is locked again."""
    since = len(place.events.all)
    place.fire(active=True)
    wait_for(lambda: place.relay.high, 30, "the relay to be held")
    place.events.wait("fire.alarm", since, active=True)
    with place.pressed("passage"):
        place.events.wait("gate.mode", since, mode="evacuating")
    check(place.relay.high, "the relay fell during the alarm")
    place.fire(active=False)
    place.events.wait("fire.alarm", since, active=False)
    wait_for(lambda: not place.relay.high, 30, "the relay to fall")
    return "held open during the alarm, on record, locked after it"


def hung_process(place: Place) -> str:
    """The process stands still: systemd's watchdog ends it and starts another."""
    since, before = len(place.events.all), unit("MainPID")
    restarts = int(unit("NRestarts"))
    run("kill", "-STOP", before)
    wait_for(lambda: int(unit("NRestarts")) > restarts, 90, "systemd to start it again", every_s=1)
    wait_for(lambda: unit("ActiveState") == "active", 90, "the service to be ready again", every_s=1)
    place.events.wait("gate.started", since)
    journal = run("journalctl", "-b", "-u", UNIT, "--no-pager", "-o", "cat")
    check(re.search("[Ww]atchdog timeout", journal), "the journal does not say that it was the watchdog")
    visitor_passes(place)
    return "watchdog timeout, started again, a visitor passed"


def sandboxed(place: Place) -> str:
    """All its processes are nobody special, and yet have the devices open."""
    pids = run("systemctl", "show", "--value", "-p", "ControlGroup", UNIT).strip()
    opened: set[str] = set()
    for pid in Path(f"/sys/fs/cgroup{pids}/cgroup.procs").read_text().split():
        status = Path("/proc", pid, "status").read_text()
        for fact in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"):
            check(fact in status, f"no {fact!r} in the status of process {pid}")
        user = run("ps", "-o", "user=", "-p", pid).strip()
        check(user == "gate", f"process {pid} runs as {user}")
        opened |= {str(link.readlink()) for link in Path("/proc", pid, "fd").iterdir()}
    wanted = {place.bus, "/dev/gpiochip0", CAMERA}
    check(wanted <= opened, f"{', '.join(wanted - opened)} not open")
    return f"user gate, no capabilities, seccomp; open: {', '.join(sorted(wanted))}"


def kernels_own_driver(_place: Place) -> str:
    """Linux' driver for the same part, on i2c-stub, gives the same temperatures for the same words."""
    run("modprobe", "i2c-stub", f"chip_addr={ADDRESS:#x}")
    bus = i2c_bus(STUB_NAME)
    adapter = Path("/sys/bus/i2c/devices", Path(bus).name)
    words = (0x27AD, 0x3A4C, 0x3B86, 0x3CB4, 0x3D01, 0x7FFF)
    with SMBus(bus) as stub:
        stub.write_word_data(ADDRESS, CONFIG1, 0x9FB4)
        (adapter / "new_device").write_text(f"mlx90614 {ADDRESS:#x}")
        part = adapter / f"{adapter.name.removeprefix('i2c-')}-{ADDRESS:04x}"
        (driver,) = wait_for(lambda: list(part.glob("iio:device*")), 60, "the kernel's driver of the part")
        for word in words:
            stub.write_word_data(ADDRESS, OBJECT, word, force=True)
            names = ("in_temp_object_raw", "in_temp_offset", "in_temp_scale")
            raw, offset, scale = (float((driver / name).read_text()) for name in names)
            kernel_cc, ours_cc = (raw + offset) * scale / 10, _centi_degrees(word)
            check(abs(kernel_cc - ours_cc) < 0.5, f"word {word:04x}: {kernel_cc} there, {ours_cc} here")
    return f"{len(words)} words, the same temperatures"


DAY: Final[tuple[Callable[[Place], str], ...]] = (
    visitor_passes,
    sandboxed,
    kernels_own_driver,
    fever,
    forged_code,
    sensor_unplugged,
    sensor_check_byte,
    camera_unplugged,
    fire_contact,
    hung_process,
)
