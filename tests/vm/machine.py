"""The emulated machine, run by QEMU in software: what a /dev/kvm on the host can do is not relied upon."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.vm.image import Image

MEMORY_MB: Final = 1024  # the smallest Pi that we name
# The machine's time is counted in instructions, a nanosecond each while it is busy: a host with other work
# to do makes it slow, and not late. Without this all timeouts and watchdogs in it would hang on its load.
CLOCK: Final = ("-icount", "shift=0", "-rtc", "clock=vm")
CPU: Final = "Nehalem"  # the oldest that numpy runs on: newer features cost time
KERNEL_WORDS: Final = "console=ttyS0 root=/dev/vda rw quiet mitigations=off systemd.show_status=0"


class Machine:
    """One machine with a disk and a share of its own below `folder`, started and cut off at will."""

    def __init__(self, image: Image, folder: Path) -> None:
        self._image = image
        self._disk = folder / "disk"
        self._log = folder / "console.log"
        self.share = folder / "share"
        self.share.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        base = ("-b", image.disk, "-F", "raw")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, self._disk], check=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.cut_power()

    def start(self, play: str) -> None:
        """Switch it on; `play` is for the program in it."""
        assert not self.running
        words = f"{KERNEL_WORDS} bench.play={play}"
        command = [
            "qemu-system-x86_64", "-M", "q35", "-accel", "tcg", "-cpu", CPU,
            *CLOCK, "-m", str(MEMORY_MB), "-smp", "1", "-nodefaults", "-display", "none",
            "-chardev", f"file,id=console,path={self._log},append=on", "-serial", "chardev:console",
            "-kernel", str(self._image.kernel), "-initrd", str(self._image.initrd), "-append", words,
            "-drive", f"file={self._disk},if=virtio,format=qcow2",
            "-virtfs", f"local,path={self.share},mount_tag=share,security_model=none",
            "-device", "i6300esb", "-action", "watchdog=reset",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @property
    def running(self) -> bool:
        """Tell whether it is switched on."""
        return self._process is not None and self._process.poll() is None

    def cut_power(self) -> None:
        """Take its power away: what its kernel had not written to the disk is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def console(self) -> str:
        """Return the last lines of its console."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])
