"""What a gate meets at the other end of its cable: the real centre, the real broker, the time of day."""

import contextlib
import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from tests.brokers import HOST, free_port, require, wait_for
from tests.central.running import CentreProcess
from tests.systemd.machine import OFFICE

ROOT = Path(__file__).parents[2]
MOSQUITTO = ROOT / "deploy" / "mosquitto"


class Office:
    """`central run` and Mosquitto as deploy/mosquitto configures it, each a process, reached at OFFICE."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.enrolment_port, self.broker_port = free_port(), free_port()
        self._broker: subprocess.Popen[bytes] | None = None
        self.central("init", str(folder))
        self.config = folder / "central.toml"
        self.config.write_text(self._central_toml(), "utf-8")
        self.central("enrol", "certificate", "broker", "--host", OFFICE, "--host", HOST, config=True)
        self.centre = CentreProcess(self.config)

    @property
    def url(self) -> str:
        return f"https://{OFFICE}:{self.enrolment_port}"

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def central(self, *words: str, config: bool = False) -> str:
        """Run one of the centre's commands and return what it prints."""
        line = [sys.executable, "-m", "central", *words, *(["--config", str(self.config)] if config else [])]
        done = subprocess.run(line, check=False, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def token(self, site: str, *more: str) -> str:
        """Make a one-time token."""
        return self.central("enrol", "token", site, *more, config=True).strip()

    def known(self) -> list[dict[str, Any]]:
        """Return what `central enrol list` knows."""
        import json

        lines = self.central("enrol", "list", "--json", config=True).splitlines()
        return [json.loads(line) for line in lines]

    def _central_toml(self) -> str:
        tls = self.folder / "tls"
        return f"""
[centre]
keys_dir = "{self.folder}"
store = "sqlite:///{self.folder}/central.db"
[mqtt]
host = "{HOST}"
port = {self.broker_port}
ca_file = "{self.ca}"
cert_file = "{tls}/centre.pem"
key_file = "{tls}/centre.key"
[enrolment]
port = {self.enrolment_port}
names = ["{OFFICE}"]
"""

    def start_broker(self) -> None:
        """Start Mosquitto with the files of deploy/mosquitto, in a folder of its own."""
        place = self.folder / "broker"
        place.mkdir(exist_ok=True)
        shutil.copy(MOSQUITTO / "acl", place / "acl")
        for name, file in (
            ("ca.pem", "ca.pem"),
            ("ca.crl", "ca.crl"),
            ("broker.pem", "tls/broker.pem"),
            ("broker.key", "tls/broker.key"),
        ):
            shutil.copy(self.folder / file, place / name)
        text = (MOSQUITTO / "gate.conf").read_text("utf-8").replace("/etc/mosquitto/health-gate", str(place))
        text = re.sub(r"(?m)^listener 8883.*", f"listener {self.broker_port}", text)
        (place / "mosquitto.conf").write_text(f"user root\npersistence false\n{text}", "utf-8")
        with (place / "log").open("ab") as log:
            command = [require("mosquitto", "mosquitto"), "-c", str(place / "mosquitto.conf")]
            self._broker = subprocess.Popen(command, stdout=log, stderr=log)

    def __enter__(self) -> Self:
        self.centre.start()
        wait_for((self.folder / "ca.crl").exists, 30, "the centre to write its list of revoked certificates")
        self.start_broker()
        return self

    def __exit__(self, *_: object) -> None:
        if self._broker:
            self._broker.kill()
            self._broker.wait(10)
        self.centre.__exit__()


# ---- The time of day ---------------------------------------------------------------------------------------

_WORDS = 32  # struct timex is 26 longs on 64-bit Linux
_MODES, _MAXERROR, _STATUS = 0, 3, 5  # places in it, in longs (adjtimex(2))
_ADJ_MAXERROR, _ADJ_STATUS, _STA_UNSYNC = 0x0004, 0x0010, 0x0040


@contextlib.contextmanager
def network_time() -> Iterator[None]:
    """Tell the kernel what an NTP daemon tells it, that its clock is right; the clock itself is not touched.

    What the kernel said before it says again afterwards.
    """
    before = _timex(0)
    status, error = before[_STATUS] & 0xFFFFFFFF, before[_MAXERROR]
    _timex(_ADJ_STATUS | _ADJ_MAXERROR, status & ~_STA_UNSYNC, 0)
    try:
        yield
    finally:
        _timex(_ADJ_STATUS | _ADJ_MAXERROR, status, error)


def is_synchronised() -> bool:
    """Return whether this machine's kernel says that its clock is right."""
    return not _timex(0)[_STATUS] & _STA_UNSYNC


def _timex(modes: int, status: int = 0, error: int = 0) -> list[int]:
    buffer = (ctypes.c_long * _WORDS)()
    buffer[_MODES], buffer[_STATUS], buffer[_MAXERROR] = modes, status, error
    if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return list(buffer)
