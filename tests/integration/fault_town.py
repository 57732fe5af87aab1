"""A small town of real processes, in which things go wrong: gates (`gate run`), Mosquitto, `central run`.

What is broken is broken from outside: processes are killed, links frozen, cut or meddled with, files taken
away and put back. In the end the books are compared as `tests.chaos` does it.
"""

import json
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, Self

import pytest
from click.testing import CliRunner, Result

from central.cli import main as central_main
from central.clock import SystemClock
from central.keys import make_keys
from central.store import Store, StreamState, open_store
from gate.app.identity import device_key
from gate.cli import main as gate_main
from gate.core.events import Event, Kind
from gate.core.moment import Moment
from gate.store.ledger import Ledger, LedgerError
from tests.brokers import Mosquitto
from tests.central.running import CentreProcess, write_config
from tests.chaos.accounts import Row, compare, passes, rows
from tests.chaos.plant import KEEPALIVE_S, SITE, Gate

BUSY: Final = 1500
QUIET: Final = 1
"""Visitors per minute."""

WAIT_S: Final = 45.0
"""How long anything is waited for: much longer than it takes, on a machine that does much else."""

_LOOK_S: Final = 0.1

EPOCH: Final = "ab" * 8
"""Of ledgers that are written beforehand."""


def until(condition: Callable[[], Any], what: Callable[[], str]) -> None:
    """Wait until something holds, looking less often than `wait_for`: each look is at files or databases."""
    deadline, pause = time.monotonic() + WAIT_S, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {WAIT_S} s in vain for {what()}")
        pause.wait(_LOOK_S)


class TownGate(Gate):
    """One gate, and what it has on disk."""

    def __init__(
        self, folder: Path, name: str, port: int, keys_file: Path, *, mqtt: Sequence[str] = ()
    ) -> None:
        super().__init__(name, folder, port, seed=len(name) + sum(name.encode()), keys_file=keys_file)
        self._mqtt = mqtt
        self._random = random.Random(name)
        self.configure(BUSY)

    def configure(self, visitors_per_minute: int) -> None:
        super().configure(visitors_per_minute)
        before = f"keepalive_s = {KEEPALIVE_S}\n"
        text = self.config.read_text()
        assert before in text
        self.config.write_text(text.replace(before, before + "".join(f"{line}\n" for line in self._mqtt)))

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def public_key(self) -> bytes:
        return device_key(self.state).public_key().public_bytes_raw()

    def write_beforehand(self, records: int) -> None:
        """Have it come back with so many records that were never sent."""
        self.state.mkdir(exist_ok=True)
        path = self.state / "ledger.db"
        at = SystemClock().now_ms()
        with closing(Ledger(path, site=SITE, gate=self.name, new_epoch=EPOCH, boot_id="before")) as ledger:
            ledger._db.execute("PRAGMA synchronous = OFF")  # no power is cut here
            for _ in range(records):
                noise = {"noise": self._random.randbytes(100).hex()}  # or it would compress to nothing
                ledger.append(Event(Kind.GATE_STOPPED, noise), Moment(1, at, clock_trusted=True))

    def wait_records(self, count: int) -> None:
        """Wait until it has written so many more."""
        before = self.records()
        until(
            lambda: self.records() >= before + count, lambda: f"{count} records of {self.name}; {self.said()}"
        )

    def head(self) -> tuple[str, int]:
        """Return the epoch of its ledger, and how many records it holds by now; none while there is none."""
        try:
            return super().head()
        except (LedgerError, sqlite3.Error):
            return "", 0

    def records(self) -> int:
        """How many records its ledger holds by now."""
        return self.head()[1]

    def mark(self) -> int:
        """Up to where its records are done."""
        with closing(sqlite3.connect(self.state / "ledger.db")) as db:
            (upto,) = db.execute("SELECT acknowledged FROM delivery").fetchone()
            return int(upto)

    def said(self) -> str:
        return self.log.read_text()

    def ledgers(self) -> Iterator[Row]:
        """Yield all that it has recorded, oldest ledger first, while it does not run."""
        aside = sorted(self.state.glob("ledger-*.db"), key=lambda path: path.stat().st_mtime)
        for path in (*aside, self.state / "ledger.db"):
            done = CliRunner().invoke(gate_main, ["ledger", "export", "--jsonl", str(path)])
            assert done.exit_code == 0, done.output
            yield from rows(done.stdout_bytes.splitlines())

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of all its records of one kind."""
        return [row.event["data"] for row in self.ledgers() if row.event["type"] == f"hg.{kind}.v1"]


class Town:
    """Processes in a folder; all of them are gone behind the block."""

    def __init__(
        self, folder: Path, template: Path, *, store: str = "", broker: Mosquitto | None = None
    ) -> None:
        self.folder = folder
        self.broker = broker or Mosquitto(folder / "broker")
        self._open = ExitStack()
        centre = folder / "centre"
        make_keys(centre)
        self.keys_file = centre / "centre.json"
        self.database = centre / "central.db"
        if not store:
            shutil.copy(template, self.database)
        self.store_url = store or f"sqlite:///{self.database}"
        self._store: Store | None = None

    def centre(self, port: int = 0, watch: Sequence[str] = (), **mqtt: Any) -> CentreProcess:
        """Configure the centre; it is not started yet."""
        self.config = write_config(
            self.keys_file.parent,
            port or self.broker.port,
            store=self.store_url,
            **{"keepalive_s": 5, **mqtt},
        )
        with self.config.open("a") as file:
            file.write("".join(("[watch]\n", *(f"{line}\n" for line in watch))))
        return self._open.enter_context(_Started(CentreProcess(self.config)))

    def gate(
        self, name: str = "g1", port: int = 0, *, known: bool = True, mqtt: Sequence[str] = ()
    ) -> TownGate:
        """Set a gate up; it is not started yet."""
        gate = self._added(TownGate(self.folder, name, port or self.broker.port, self.keys_file, mqtt=mqtt))
        if known:
            self.enrol(gate)
        return gate

    def twin(self, gate: TownGate, folder: Path) -> TownGate:
        """Set up a second gate with the same name."""
        return self._added(TownGate(folder, gate.name, self.broker.port, self.keys_file))

    def _added(self, gate: TownGate) -> TownGate:
        self._open.callback(gate.kill)
        return gate

    def enrol(self, gate: TownGate) -> None:
        self.store.register_gate(SITE, gate.name, gate.public_key, SystemClock().now_ms())

    @property
    def store(self) -> Store:
        """The centre's store, to look into beside it."""
        if self._store is None:
            self._store = self._open.enter_context(open_store(self.store_url))
        return self._store

    def close_store(self) -> None:
        """Let go of the store, so that another one may take its place."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def use_store(self, url: str) -> None:
        """Let the centre that is configured next keep its records elsewhere."""
        self.close_store()
        self.store_url = url

    def streams(self, gate: Gate) -> list[StreamState]:
        """How the ledgers of a gate stand at the centre, oldest first."""
        return [state for state in self.store.streams() if state.gate == gate.name]

    def proved(self, gate: TownGate) -> int:
        """Up to where the present ledger of a gate is proved."""
        epoch, _ = gate.head()
        return next((state.proved for state in self.streams(gate) if state.epoch == epoch), 0)

    def wait_proved(self, gate: TownGate, count: int = 1) -> None:
        """Wait until the gate has a ledger of which so many more records are proved than now."""
        until(gate.records, lambda: f"a ledger; {gate.said()}")
        before = self.proved(gate)
        until(
            lambda: self.proved(gate) >= before + count,
            lambda: f"{count} more proofs after {before}; {self.told(gate)}",
        )

    def wait_receipted(self, gate: TownGate) -> None:
        """Wait until all that a gate has recorded by now is done, on both sides."""
        _, upto = gate.head()
        until(lambda: gate.mark() >= upto, lambda: f"receipts up to {upto}; {self.told(gate)}")
        assert self.proved(gate) >= upto

    def told(self, gate: TownGate) -> str:
        return f"{self.streams(gate)}\n{self.alarms()}\n{gate.said()}"

    def alarms(self, *, standing: bool = False) -> list[str]:
        """Return the alarms that were raised, or those that stand, as words."""
        found = self.store.alarms(standing=standing)
        return [f"{alarm.about.kind}/{alarm.about.code} {alarm.about.gate}" for alarm in found]

    def wait_alarm(self, words: str) -> None:
        until(lambda: words in self.alarms(standing=True), lambda: f"{words} among {self.alarms()}")

    def wait_over(self, words: str) -> None:
        until(lambda: words not in self.alarms(standing=True), lambda: f"the end of {words}")

    def start(self, centre: CentreProcess, *gates: TownGate) -> None:
        """Start a centre, and gates once it listens."""
        times = centre.log().count("listening at") if Path(self.config).with_suffix(".log").exists() else 0
        centre.start()
        until(lambda: centre.log().count("listening at") > times, lambda: f"the centre; {centre.log()}")
        for gate in gates:
            gate.start()

    def central(self, *arguments: str, given: bytes = b"") -> Result:
        """Run a command of the centre."""
        return CliRunner().invoke(central_main, [*arguments, "--config", str(self.config)], input=given)

    def settle(self, *gates: TownGate, gone: Sequence[Row] = ()) -> None:
        """Stop the gates, wait for the rest to arrive, and compare all books: nothing lost, nothing twice.

        `gone`: records that are not on the gates any more, or in whose places there are others.
        """
        for gate in gates:
            gate.stop()
        for gate in gates:
            self.wait_all_proved(gate)
        self.compare(*gates, gone=gone)

    def wait_all_proved(self, gate: TownGate) -> None:
        """Wait until all that a gate has recorded in its present ledger is proved."""
        until(
            lambda: self.proved(gate) == gate.records(),
            lambda: f"all that {gate.name} has; {self.told(gate)}",
        )

    def compare(self, *gates: TownGate, gone: Sequence[Row] = ()) -> None:
        """Compare the books of gates that do not run."""
        own = {gate: [*(row for row in gone if row.place[0] == gate.name), *gate.ledgers()] for gate in gates}
        places = {row.place: row for every in own.values() for row in reversed(every)}
        names = {gate.name for gate in gates}
        account = compare(places.values(), (row for row in self.exported() if row.place[0] in names))
        assert (account.lost, account.doubled, account.others) == ([], [], [])
        for gate, every in own.items():
            found = passes([row.event for row in every], [pulse.at_ms for pulse in gate.pulses()])
            assert found.unrecorded == 0
        verified = self.central("verify")
        assert verified.exit_code == 0, verified.output

    def exported(self) -> Iterable[Row]:
        done = self.central("export", "--jsonl")
        assert done.exit_code == 0, done.output
        return rows(done.stdout_bytes.splitlines())

    def __enter__(self) -> Self:
        self._open.enter_context(self.broker)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class _Started:
    """A centre that the test starts itself, and that is gone in the end."""

    def __init__(self, process: CentreProcess) -> None:
        self._process = process

    def __enter__(self) -> CentreProcess:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.__exit__()


def copy_state(gate: TownGate, to: Path) -> None:
    """Copy the state folder of a gate that does not run."""
    shutil.copytree(gate.state, to, ignore=shutil.ignore_patterns("*.sock", "lock"))


def put_back(kept: Path, gate: TownGate) -> None:
    """Bring a copy of a state folder back, in the place of what is there."""
    shutil.rmtree(gate.state)
    shutil.copytree(kept, gate.state)


def as_identity(gate: TownGate) -> bytes:
    """Return what `gate identity` prints."""
    return json.dumps({"site": SITE, "gate": gate.name, "public_key": gate.public_key.hex()}).encode()
