"""A USB-to-I2C bridge (MCP2221) with one MLX90614 on it, as the kernel sees them: a process of its own.

The kernel's own driver (drivers/hid/hid-mcp2221.c) makes a real /dev/i2c-N of it, to which the gate speaks as
to any other. The words on the wire, check bytes and faults are those of `drivers.sim.mlx90614`.

Commands come as JSON lines on standard input, each answered by a line: {"object_cc": 3400},
{"fault": "nack"} (a `Fault`), {"fault": null}.
"""

import errno
import json
import os
import select
import struct
import sys
import time

from smbus2 import i2c_msg

from drivers.mlx90614 import VARIANTS
from drivers.sim.mlx90614 import Fault, SimMlx90614
from gate.shell.clock import sleep

# linux/uhid.h
UHID_OUTPUT, UHID_CREATE2, UHID_INPUT2 = 6, 11, 12
EVENT_BYTES = 4380
BUS_USB, VENDOR, PRODUCT = 3, 0x04D8, 0x00DD
REPORT_BYTES = 64
# HID 1.11 section 6.2.2: a vendor's device with reports of 64 bytes without numbers, one in, one out.
DESCRIPTOR = bytes.fromhex("0600ff0901a1010902150026ff007508954081020903150026ff00750895409102c0")

# MCP2221A data sheet, section 3.1: commands, and states of the I2C engine.
STATUS, GET_DATA, WRITE, READ, READ_REPEATED, WRITE_NO_STOP = 0x10, 0x40, 0x90, 0x91, 0x93, 0x94
SPEED_TAKEN, READ_COMPLETE, ADDRESS_NACK, ADDRESS_TIMEOUT = 0x20, 0x55, 0x25, 0x23
BUSY = 0x01


class Bridge:
    """Answers one report with one report; a read is run when it is asked for, as one transaction."""

    def __init__(self, part: SimMlx90614) -> None:
        self._part = part
        self._held: list[i2c_msg] = []  # written without a stop: the first half of a transaction
        self._answer = b""
        self._nack = False

    def reply(self, report: bytes) -> bytes:
        """Return the report that answers this one; section 3.1 of the data sheet."""
        command, said = report[0], bytes(3)
        if command in {WRITE, WRITE_NO_STOP, READ, READ_REPEATED}:
            said = self._transfer(command, report)
        elif command == GET_DATA:
            state = ADDRESS_NACK if self._nack else READ_COMPLETE
            said = bytes([0, state, len(self._answer)]) + self._answer
            self._answer = b""
        elif command == STATUS:
            said = bytes([0, 0, SPEED_TAKEN]) + bytes(16) + bytes([0x40 if self._nack else 0])
            self._nack = False
        return (bytes([command]) + said).ljust(REPORT_BYTES, b"\0")

    def _transfer(self, command: int, report: bytes) -> bytes:
        length, address = report[1] | report[2] << 8, report[3] >> 1
        if command == WRITE_NO_STOP:
            self._held = [i2c_msg.write(address, report[4 : 4 + length])]
            return bytes(3)
        reading = command in {READ, READ_REPEATED}
        last = i2c_msg.read(address, length) if reading else i2c_msg.write(address, report[4 : 4 + length])
        messages, self._held = [*self._held, last], []
        try:
            self._part.i2c_rdwr(*messages)
        except OSError as error:
            if error.errno == errno.ETIMEDOUT:
                return bytes([BUSY, ADDRESS_TIMEOUT, 0])
            self._nack = True
        else:
            self._answer = bytes(last) if reading else b""
        return bytes(3)


def obey(part: SimMlx90614, told: dict[str, object]) -> None:
    """Do what one command says."""
    if "object_cc" in told:
        part.look_at(int(str(told["object_cc"])))
    if "fault" in told:
        fault = told["fault"]
        part.recover() if fault is None else part.inject(Fault(str(fault)))


def main() -> None:
    """Be the device until standard input ends."""
    part = SimMlx90614(VARIANTS["DCC"], monotonic=time.monotonic, sleep=sleep)
    bridge = Bridge(part)
    device = os.open("/dev/uhid", os.O_RDWR | os.O_CLOEXEC)
    create = struct.pack(
        "<I128s64s64sHHIIII", UHID_CREATE2, b"Bench MCP2221", b"bench", b"1", len(DESCRIPTOR), BUS_USB,
        VENDOR, PRODUCT, 0x0100, 0,
    )  # fmt: skip
    os.write(device, create + DESCRIPTOR)
    while True:
        ready, _, _ = select.select([device, sys.stdin], [], [])
        if device in ready:
            event = os.read(device, EVENT_BYTES)
            if struct.unpack_from("<I", event)[0] == UHID_OUTPUT:
                reply = bridge.reply(event[4 : 4 + REPORT_BYTES])
                os.write(device, struct.pack("<IH", UHID_INPUT2, len(reply)) + reply)
        if sys.stdin in ready:
            line = sys.stdin.readline()
            if not line:
                return
            obey(part, json.loads(line))
            sys.stdout.write("ok\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
