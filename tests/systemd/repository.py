"""A signed package repository as deploy/apt makes it, served over HTTP to the machines at the cable."""

import os
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from tests.brokers import require
from tests.systemd.machine import OFFICE, Machine

MAKE = Path(__file__).parents[2] / "deploy" / "apt" / "make-repository"
KEY = "health-gate packages"
SOURCE = "/etc/apt/sources.list.d/health-gate.sources"
KEYRING = "/usr/share/keyrings/health-gate.gpg"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Repository:
    """A folder of packages behind a web server, for the length of a block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "packages"
        self._home = folder / "gnupg"
        self._home.mkdir(parents=True, mode=0o700)
        # An agent's socket has a short path only, and gpg looks for the agent below its home.
        self._environment = {**os.environ, "GNUPGHOME": str(self._home)}
        require("apt-ftparchive", "apt-utils")
        self._gpg("--passphrase", "", "--quick-generate-key", KEY, "ed25519", "sign", "never")

    def add(self, *debs: Path) -> None:
        """Put packages in and sign the index."""
        line = [str(MAKE), "--key", KEY, str(self.folder), *map(str, debs)]
        done = subprocess.run(line, check=False, capture_output=True, text=True, env=self._environment)
        assert done.returncode == 0, done.stdout + done.stderr

    def trusted_by(self, machine: Machine) -> None:
        """Give a machine the source and the key, as a card does."""
        port = self._server.server_port
        machine.put(SOURCE, f"Types: deb\nURIs: http://{OFFICE}:{port}/\nSuites: ./\nSigned-By: {KEYRING}\n")
        machine.put(KEYRING, (self.folder / "health-gate.gpg").read_bytes())

    def _gpg(self, *words: str) -> None:
        line = [require("gpg", "gpg"), "--batch", "--quiet", *words]
        subprocess.run(line, check=True, capture_output=True, env=self._environment)

    def __enter__(self) -> Self:
        handler = partial(_Quiet, directory=str(self.folder))
        self._server = ThreadingHTTPServer(("0.0.0.0", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        subprocess.run(["gpgconf", "--kill", "all"], check=False, env=self._environment)
