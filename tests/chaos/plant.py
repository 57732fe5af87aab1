"""The processes of a chaos run on the loopback: how each is set up, started, killed, stopped and asked."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from drivers.sim.pulses import Pulse, read_pulses
from gate.store.database import open_read_only
from tests.chaos.accounts import Named, Row, rows
from tests.chaos.faults import CENTRE

ROOT: Final = Path(__file__).resolve().parents[2]
HOST: Final = "127.0.0.1"
SITE: Final = "chaos"
KEEPALIVE_S: Final = 5
QUEUE_MAX: Final = 200
RECEIVE_MAXIMA: Final = (1, 10, 20)
STOP_S: Final = 30.0

GATE: Final = (sys.executable, "-c", "from gate.cli import main; main()")
CENTRAL: Final = (sys.executable, "-c", "from central.cli import main; main()")

# The county hall, but nobody is waited for longer than the format of a plan allows.
_POLICY: Final = """
extends = "county-hall"
name = "chaos-hall"
[timing]
collect_s = 3
retest_wait_s = 1
cure_s = 3
pass_s = 1
farewell_s = 1
"""


class PlantError(Exception):
    """A process cannot be set up or does not do what it must; the message names it and its log."""


class Part:
    """One process that is started again and again; what it says goes to `<folder>/<name>.log`."""

    def __init__(self, name: str, folder: Path, command: Sequence[object]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._command = [str(word) for word in command]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may take a moment until it serves."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=ROOT, env=_environment()
            )

    def tell(self, line: str) -> None:
        """Say a line to its standard input."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait. PlantError when it does not, or not well."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise PlantError(f"{self.name} did not end within {STOP_S:.0f} s; see {self.log}") from None
        self._end()
        if status not in {0, -15}:
            raise PlantError(f"{self.name} ended with status {status}; see {self.log}")

    @property
    def died(self) -> int | None:
        """Its exit status when it has ended by itself."""
        return None if self._process is None else self._process.poll()

    def _end(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process = None


class Gate(Part):
    """`gate run` without hardware; with a centre, or trusting the broker."""

    def __init__(self, name: str, folder: Path, port: int, seed: int, keys_file: Path | None) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.config = self.folder / "gate.toml"
        self.world_log = self.folder / "pulses.jsonl"
        super().__init__(name, folder, (*GATE, "run", "--config", self.config))
        self._port, self._seed, self._keys_file = port, seed, keys_file

    def configure(self, visitors_per_minute: int) -> None:
        """Write its configuration, for the next start."""
        policy = self.folder / "chaos-hall.toml"
        policy.write_text(_POLICY)
        centre = "" if self._keys_file is None else f'[centre]\nkeys_file = "{self._keys_file}"\n'
        self.config.write_text(
            f'[gate]\nsite = "{SITE}"\nid = "{self.name}"\npolicy = "{policy}"\nlang = "en"\n'
            f'state_dir = "{self.folder / "state"}"\nclock = "always_trusted"\n'
            f'[mqtt]\nhost = "{HOST}"\nport = {self._port}\nkeepalive_s = {KEEPALIVE_S}\n{centre}'
            f'[simulation]\nworld_log = "{self.world_log}"\nseed = {self._seed}\n'
            f"visitors_per_minute = {visitors_per_minute}\n"
        )

    def identity(self) -> bytes:
        """Return what `gate identity` prints."""
        return ask(*GATE, "identity", "--config", self.config)

    def pulses(self) -> list[Pulse]:
        """Return what the turnstile has written down."""
        return list(read_pulses(self.world_log)) if self.world_log.exists() else []

    def count_pulses(self) -> int:
        """Count them, quickly."""
        return self.world_log.read_bytes().count(b"\n") if self.world_log.exists() else 0

    def head(self) -> tuple[str, int]:
        """Return the epoch of its ledger, and how many records it holds by now."""
        with closing(open_read_only(self.folder / "state" / "ledger.db")) as db:
            epoch, seq = db.execute("SELECT epoch, seq FROM ledger, head").fetchone()
            return str(epoch), int(seq)

    def ledgers(self) -> Iterator[Row]:
        """Yield all that it has recorded, one ledger after the other, while it does not run."""
        state = self.folder / "state"
        before = sorted(state.glob("ledger-*.db"), key=lambda path: path.stat().st_mtime)
        for path in (*before, state / "ledger.db"):
            yield from rows(ask(*GATE, "ledger", "export", "--jsonl", path).splitlines())


class Centre(Part):
    """`central run` on SQLite."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder / CENTRE
        ask(*CENTRAL, "init", self.folder)
        self.config = self.folder / "central.toml"
        self.config.write_text(
            f'[centre]\nkeys_dir = "{self.folder}"\nstore = "sqlite:///{self.folder / "central.db"}"\n'
            f'[mqtt]\nhost = "{HOST}"\nport = {port}\nkeepalive_s = {KEEPALIVE_S}\n'
        )
        self.keys_file = self.folder / "centre.json"
        super().__init__(CENTRE, folder, (*CENTRAL, "run", "--config", self.config))

    def enrol(self, identity: bytes) -> None:
        """Make a gate known."""
        ask(*CENTRAL, "gates", "add", "-", "--config", self.config, given=identity)

    def status(self) -> list[dict[str, Any]]:
        """Return how each gate stands."""
        return list(json.loads(ask(*CENTRAL, "status", "--json", "--config", self.config)))

    def export(self) -> Iterator[Row]:
        """Yield all that it has."""
        yield from rows(ask(*CENTRAL, "export", "--jsonl", "--config", self.config).splitlines())

    def alarms(self) -> list[dict[str, Any]]:
        """Return every alarm that there ever was."""
        lines = ask(*CENTRAL, "alarms", "--all", "--json", "--config", self.config).splitlines()
        return [json.loads(line) for line in lines]

    def problems(self) -> list[dict[str, Any]]:
        """Return what `central verify` names."""
        lines = ask(*CENTRAL, "verify", "--json", "--config", self.config, good=(0, 1)).splitlines()
        if not lines:  # status 1 is also that of a store that cannot be used
            raise PlantError("central verify came to no end; look into the centre's log")
        return [said for line in lines if "what" in (said := json.loads(line))]


def named(alarms: Sequence[dict[str, Any]], problems: Sequence[dict[str, Any]]) -> list[Named]:
    """Return what alarms that stand, and `central verify`, say something is wrong with."""
    standing = [alarm for alarm in alarms if alarm["cleared_ms"] is None]
    return [
        *(Named(alarm["gate"], alarm["epoch"], alarm["first"], alarm["last"]) for alarm in standing),
        *(Named(found["gate"], found["epoch"], found["seq"], found["seq"]) for found in problems),
    ]


def a_broker(folder: Path, port: int) -> Part:
    """A Mosquitto that loses what it may lose: it keeps little, and nothing beyond a kill."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")
    if program is None:
        raise PlantError("mosquitto is missing: install the package mosquitto")
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n"
        f"max_queued_messages {QUEUE_MAX}\nmax_inflight_messages 20\n"
        + ("user root\n" if os.geteuid() == 0 else "")  # or it could not read this folder
    )
    return Part("broker", folder, (program, "-c", config))


class Wire(Part):
    """The proxy process: a link for each name, those of gates with a Receive Maximum."""

    def __init__(self, folder: Path, broker_port: int, names: Sequence[str]) -> None:
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        links = [
            f"{name}:{port}:{0 if name == CENTRE else RECEIVE_MAXIMA[number % len(RECEIVE_MAXIMA)]}"
            for number, (name, port) in enumerate(self.ports.items())
        ]
        super().__init__("wire", folder, (sys.executable, "-m", "tests.chaos.proxy", broker_port, *links))

    def freeze(self, name: str) -> None:
        """Let nothing pass on this link."""
        self.tell(f"freeze {name}")

    def thaw(self, name: str) -> None:
        """Let all pass again."""
        self.tell(f"thaw {name}")

    def excesses(self) -> int:
        """How often somebody had more messages under way than allowed."""
        return self.log.read_text().count("excess ")


def free_ports(count: int) -> list[int]:
    """Return ports of the loopback that nobody listens on."""
    with contextlib.ExitStack() as open_at_once:
        sockets = [open_at_once.enter_context(socket.socket()) for _ in range(count)]
        for probe in sockets:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in sockets]


def ask(*command: object, given: bytes = b"", good: Sequence[int] = (0,)) -> bytes:
    """Run a command and return what it prints. PlantError with what it says when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=given, capture_output=True, check=False, cwd=ROOT, env=_environment())
    if done.returncode not in good:
        shown = " ".join(word for word in words if word not in {*GATE, *CENTRAL})
        raise PlantError(f"{shown}: status {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1"}
