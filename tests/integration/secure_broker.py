"""A Mosquitto with the very files of deploy/mosquitto, and the centre's certificates in place."""

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from central.cli import main as central_main
from central.clock import SystemClock
from central.enrolment.authority import Authority, load_authority
from central.enrolment.book import EnrolmentBook
from central.enrolment.keeper import write_crl
from central.store import Store, open_store
from gate.app.identity import device_key
from tests.brokers import HOST, Mosquitto, wait_for

DEPLOY = Path("deploy/mosquitto")
INSTALLED = "/etc/mosquitto/health-gate"


def central(*arguments: object) -> str:
    done = CliRunner().invoke(central_main, [str(word) for word in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


class SecureBroker(Mosquitto):
    """Mosquitto as docs/enrolment.md has it set up; `keys` is the centre's folder."""

    def __init__(self, folder: Path) -> None:
        self.keys, self.place, self._log_read = folder / "centre", folder / "health-gate", 0
        central("init", self.keys)
        self.config = self.keys / "central.toml"
        central("enrol", "certificate", "broker", "--host", HOST, "--config", self.config)
        with self.store() as store:
            write_crl(self.keys, self.authority, EnrolmentBook(store.engine), SystemClock().now_ms())
        self.refresh(reload=False)
        (self.place / "acl").write_bytes((DEPLOY / "acl").read_bytes())
        lines = (DEPLOY / "gate.conf").read_text().replace(INSTALLED, str(self.place)).splitlines()
        super().__init__(folder / "broker", *(line for line in lines if re.match(r"(?!listener)\w", line)))

    @property
    def authority(self) -> Authority:
        return load_authority(self.keys)

    def store(self) -> Store:
        return open_store(f"sqlite:///{self.keys / 'central.db'}")

    def refresh(self, *, reload: bool = True) -> str:
        """Do what health-gate-broker.path does; return what is new."""
        command = ["sh", str(DEPLOY / "refresh"), str(self.keys), str(self.place)]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        if reload and said:
            before = self.log().count("Reloading config")
            assert self._process is not None
            self._process.send_signal(signal.SIGHUP)
            wait_for(lambda: self.log().count("Reloading config") > before, 5, "the broker to read again")
        return said

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def own(self, name: str) -> dict[str, Any]:
        """Return the files of a client that the centre has made."""
        if not (self.keys / "tls" / f"{name}.pem").exists():
            central("enrol", "certificate", name, "--config", self.config)
        return self.files(self.keys / "tls" / f"{name}.pem", self.keys / "tls" / f"{name}.key")

    def gate(self, name: str, folder: Path) -> dict[str, Any]:
        """Return the files of a gate, without its ever having asked."""
        folder.mkdir(parents=True, exist_ok=True)
        key = device_key(folder)
        made = self.authority.gate_certificate(
            name, key.public_key().public_bytes_raw(), SystemClock().now_ms()
        )
        (folder / "gate.pem").write_bytes(made.public_bytes(Encoding.PEM))
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        assert private == (folder / "device.key").read_bytes()
        return self.files(folder / "gate.pem", folder / "device.key")

    def files(self, cert_file: Path, key_file: Path) -> dict[str, Any]:
        return {"ca_file": self.keys / "ca.pem", "cert_file": cert_file, "key_file": key_file}
