"""What can go wrong with a device, split by what the caller can do next.

Every error names the device, the problem, and the step that a maintenance person takes.  Faults that are part
of daily service (a nacked read, a blocked view) are outcomes in the driver's result and not exceptions.
"""

from __future__ import annotations


class DeviceError(Exception):
    """A device cannot do what was asked.

    `device` is what a person would look for ("/dev/i2c-1", "MLX90614 at 0x5A"), `problem` what was seen,
    `advice` what to do about it, as an instruction.
    """

    def __init__(self, device: str, problem: str, advice: str) -> None:
        # All three go to Exception so that the error survives pickling between processes.
        super().__init__(device, problem, advice)
        self.device = device
        self.problem = problem
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.device}: {self.problem}; {self.advice}"


class DeviceNotAvailable(DeviceError):  # noqa: N818 - the base carries the word; these name the case
    """There is nothing to talk to: no such device, no permission, a missing library.

    Trying again does not help; somebody has to change the machine.
    """


class DeviceFailed(DeviceError):  # noqa: N818 - the base carries the word; these name the case
    """The device is there and refused or spoiled the operation; a later attempt may succeed."""


class DeviceTimeout(DeviceError):  # noqa: N818 - the base carries the word; these name the case
    """The device gave no answer in its time; its state is unknown until it has been opened again."""
