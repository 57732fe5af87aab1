"""`gate enrol` against the real service of the centre: what it keeps and refuses, and when it asks at all."""

import contextlib
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from central.clock import SystemClock as CentreClock
from central.enrolment.authority import Authority, load_authority, make_authority
from central.enrolment.book import EnrolmentBook
from central.enrolment.service import EnrolmentService
from central.enrolment.settings import EnrolmentSettings
from central.keys import make_keys
from central.store import Store, open_store
from gate import durable
from gate.app import enrolment
from gate.app.board import Board
from gate.app.enrolment import Device, EnrolConfig, EnrolError, await_clock, load_enrol_config, serial_number
from gate.app.identity import device_key
from gate.checked import ConfigError
from gate.cli import main
from gate.cli.enrol import EX_NOPERM, EX_TEMPFAIL
from gate.core.moment import Moment
from tests.app.test_doctor import write_config
from tests.brokers import HOST, free_port

EX_CONFIG = 78
DAY_MS = 86_400_000


def now_ms() -> int:
    return round(time.time() * 1000)  # noqa: TID251 - TLS compares with the real clock


class Shifted(CentreClock):
    """The centre's clock, as far ahead as a test says."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Place:
    """A centre's service, and a device beside it that has not got anything yet."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.keys, self.state, self.folder = folder / "centre", folder / "state", folder
        make_keys(self.keys)
        make_authority(self.keys, now_ms())
        self.authority: Authority = load_authority(self.keys)
        self.book, self.store, self.clock = EnrolmentBook(store.engine), store, Shifted()
        self.port = free_port()
        self.token = folder / "token"
        self.enrol_toml = folder / "enrol.toml"
        self.write()

    def serving(self) -> Any:
        settings = EnrolmentSettings(self.port, HOST, (HOST,))
        return contextlib.closing(
            EnrolmentService(settings, self.keys, self.authority, self.book, self.clock)
        )

    def write(self, **changes: Any) -> None:
        said = {
            "url": f"https://{HOST}:{self.port}", "ca_file": str(self.keys / "ca.pem"),
            "token_file": str(self.token), "site": "north", "gate": "g-1", "state_dir": str(self.state),
        } | changes  # fmt: skip
        lines = [f"{name} = {json.dumps(value)}" for name, value in said.items() if value is not None]
        self.enrol_toml.write_text("\n".join(lines))

    def give_token(self, **given: Any) -> None:
        said = {"days": 7, "uses": 1, "by": "Li", "now_ms": now_ms()} | given
        self.token.write_text(
            self.book.make_token(said.pop("site", "north"), said.pop("gate", ""), **said) + "\n"
        )

    def enrol(self, *more: str, config: Path | None = None) -> Result:
        arguments = ["--config", str(config or self.folder / "none"), "--enrol-config", str(self.enrol_toml)]
        return CliRunner().invoke(main, ["enrol", *arguments, "--clock-wait-s", "0", *more])

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.state)): path.read_bytes()
            for path in self.state.rglob("*")
            if path.is_file()
        }

    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.state / "tls" / "gate.pem").read_bytes())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "central.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def place(tmp_path: Path, template: Path) -> Iterator[Place]:
    (tmp_path / "central.db").write_bytes(template.read_bytes())
    with open_store(f"sqlite:///{tmp_path / 'central.db'}") as store:
        place = Place(tmp_path, store)
        with place.serving():
            yield place


def test_a_new_device_gets_everything_and_its_token_goes(place: Place) -> None:
    place.give_token()
    done = place.enrol()
    assert (done.exit_code, done.stderr) == (0, "")
    assert set(place.files()) == {"device.key", "centre.json", "tls/ca.pem", "tls/gate.pem"}
    assert not place.token.exists()
    assert place.certificate().public_key() == device_key(place.state).public_key()
    assert json.loads(place.files()["centre.json"]) == json.loads((place.keys / "centre.json").read_text())
    assert [(key.site, key.gate) for key in place.store.gates()] == [("north", "g-1")]
    assert (place.state / "device.key").stat().st_mode & 0o777 == 0o600


def test_nothing_is_asked_while_nothing_is_due(place: Place) -> None:
    place.give_token()
    assert place.enrol().exit_code == 0
    before = place.files()
    place.write(url="https://192.0.2.1")
    done = place.enrol()
    assert (done.exit_code, done.output, place.files()) == (0, "", before)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda state: (state / "tls" / "gate.pem").write_bytes(b"half"), "cannot be read"),
        (lambda state: (state / "tls" / "ca.pem").unlink(), "is missing"),
        (lambda state: (state / "centre.json").unlink(), "is missing"),
    ],
)
def test_what_is_damaged_is_asked_for_again(place: Place, spoil: Callable[[Path], object], why: str) -> None:
    place.give_token()
    place.enrol()
    before = place.files()
    spoil(place.state)
    done = place.enrol()
    assert (done.exit_code, why in done.output) == (0, True)
    assert place.files() == before, "the same certificate, without a token"


def test_it_is_renewed_at_two_thirds_of_its_life_without_a_token(place: Place) -> None:
    place.clock.ahead_ms = 0
    place.give_token()
    place.enrol()
    device, key, first = Device("north", "g-1", place.state), device_key(place.state), place.certificate()
    life = first.not_valid_after_utc - first.not_valid_before_utc
    due = first.not_valid_before_utc + life * 2 / 3

    def why_due(at: datetime) -> str:
        now = Moment(0, round(at.timestamp() * 1000), True)
        return enrolment.why_due(EnrolConfig("https://"), device, key, now, Board())

    assert why_due(due - timedelta(seconds=2)) == ""
    assert "is good until" in why_due(due + timedelta(seconds=2))
    # A certificate that is that old: of an authority whose clock was 61 days behind.
    made = place.authority.gate_certificate(
        "north/g-1", key.public_key().public_bytes_raw(), now_ms() - 61 * DAY_MS
    )
    with place.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM certificates")
    (place.state / "tls" / "gate.pem").write_bytes(made.public_bytes(Encoding.PEM))
    assert place.enrol().exit_code == 0
    assert place.certificate().not_valid_after_utc > made.not_valid_after_utc


def test_a_power_cut_at_any_write_is_mended_by_the_next_run(place: Place, monkeypatch: Any) -> None:
    place.give_token()
    real, written = durable.replace, []
    for allowed in (0, 1, 1, 1):  # files that this run writes before the power goes
        end = len(written) + allowed

        def write(path: Path, content: bytes, end: int = end) -> None:
            if len(written) == end:
                raise KeyboardInterrupt  # nothing behind it is done
            written.append(path.name)
            real(path, content)

        monkeypatch.setattr(durable, "replace", write)
        done = place.enrol()
        is_done = written[-1:] == ["gate.pem"]
        assert (done.exit_code == 0, (place.state / "tls" / "gate.pem").exists()) == (is_done, is_done)
        assert place.token.exists() != is_done, "the token stays until all of it is there"
    assert written == ["ca.pem", "centre.json", "gate.pem"], "what is right is not written again"
    assert len(list(place.book.issued())) == 1


def test_a_cut_before_the_token_went_costs_nothing(place: Place) -> None:
    place.give_token()
    kept = place.token.read_text()
    place.enrol()
    place.token.write_text(kept)
    assert place.enrol().exit_code == 0
    assert not place.token.exists()


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("00" * 20, EX_NOPERM, "made no such token"),
        ("", EX_NOPERM, "has no token"),
        ("expired", EX_NOPERM, "time of this token is over"),
        ("south", EX_NOPERM, "another site"),
        ("used", EX_NOPERM, "used by another device"),
        ("second key", EX_TEMPFAIL, "central enrol allow north g-1"),
    ],
)
def test_whoever_is_refused_is_told_why_and_keeps_nothing(
    place: Place, token: str, status: int, words: str
) -> None:
    if token == "expired":
        place.give_token(now_ms=now_ms() - 8 * DAY_MS)
    elif token == "south":
        place.give_token(site="south")
    elif token in {"used", "second key"}:
        place.give_token()
        kept = place.token.read_text()
        place.write(gate="g-1" if token == "second key" else "g-2", state_dir=str(place.folder / "other"))
        assert place.enrol().exit_code == 0
        place.write()
        place.token.write_text(kept)
    else:
        place.token.write_text(token)
    done = place.enrol()
    assert (done.exit_code, words in done.stderr) == (status, True), done.stderr
    assert set(place.files()) == {"device.key"}
    assert place.token.exists()
    if token == "second key":
        [waiting] = place.book.waiting()
        place.book.allow("north", "g-1", waiting.kid, waiting.device, "Li", now_ms())
        assert place.enrol().exit_code == 0
        assert not place.token.exists()


def test_a_revoked_device_gets_nothing_more(place: Place) -> None:
    place.give_token()
    place.enrol()
    place.store.revoke_key("north", "g-1", None, now_ms())
    done = place.enrol("--again")
    assert (done.exit_code, "was revoked" in done.stderr) == (EX_NOPERM, True)
    place.store.register_gate("north", "g-1", place.store.gates()[0].public_key, now_ms())
    before = place.certificate()
    assert place.enrol("--again").exit_code == 0
    assert place.certificate() != before


def test_a_centre_that_is_not_the_one_of_the_card_gets_no_token(place: Place, tmp_path: Path) -> None:
    place.give_token()
    make_authority(tmp_path / "another", now_ms())
    place.write(ca_file=str(tmp_path / "another" / "ca.pem"))
    done = place.enrol()
    assert (done.exit_code, "is not accepted" in done.stderr) == (EX_TEMPFAIL, True)
    place.write(ca_file=str(tmp_path / "nothing.pem"))
    done = place.enrol()
    assert (done.exit_code, "cannot be used as the centre's authority" in done.stderr) == (EX_NOPERM, True)
    place.write(url=f"https://{HOST}:{free_port()}")
    done = place.enrol()
    assert (done.exit_code, "cannot reach" in done.stderr) == (EX_TEMPFAIL, True)
    assert place.token.exists()
    assert place.store.gates() == []


def test_a_card_that_was_prepared_for_another_centre_asks_that(place: Place, tmp_path: Path) -> None:
    place.give_token()
    assert place.enrol().exit_code == 0
    before = place.files()
    make_authority(tmp_path / "other", now_ms())
    place.write(ca_file=str(tmp_path / "other" / "ca.pem"))
    done = place.enrol()
    assert "is of another authority than" in done.stdout, "it asks, and this is not the centre that is named"
    assert (done.exit_code, place.files()) == (EX_TEMPFAIL, before)
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "other" / "ca.pem").read_bytes() + (place.keys / "ca.pem").read_bytes())
    place.write(ca_file=str(both))
    assert place.enrol().stdout == ""


def test_a_key_that_was_made_anew_makes_a_certificate_due(place: Place) -> None:
    place.give_token()
    place.enrol()
    (place.state / "device.key").unlink()
    place.give_token()
    done = place.enrol()
    assert (done.exit_code, "another key" in done.output) == (EX_TEMPFAIL, True)
    assert [waiting.why for waiting in place.book.waiting()] == ["known_gate"]


def test_the_gates_configuration_says_who_it_is_where_there_is_one(place: Place, tmp_path: Path) -> None:
    config = write_config(tmp_path)
    place.give_token(site="north-hall")
    place.write(site="elsewhere")
    done = place.enrol(config=config)
    assert done.exit_code == 0, done.output
    [key] = place.store.gates()
    assert (key.site, (tmp_path / "state" / "tls" / "gate.pem").exists()) == ("north-hall", True)
    # It may name files that enrolment is to bring, and be wrong elsewhere.
    config.write_text(
        f'[gate]\nsite = "north-hall"\nid = "north-1"\nstate_dir = "{tmp_path / "other"}"\n'
        '[mqtt]\nca_file = "/nowhere/ca.pem"\n'
    )
    place.write(site=None, gate=None)
    assert "north-hall/north-1" in place.enrol(config=config).output
    for wrong in ("[gate]\n", "gate = 1\n", "", '[gate]\nsite = "a b"\nid = "c"\n'):
        config.write_text(wrong)
        done = place.enrol(config=config)
        assert (done.exit_code, "gate.site" in done.stderr) == (EX_CONFIG, True), done.stderr


def test_a_configuration_that_says_too_little_is_refused(place: Place) -> None:
    for changes, words in (
        ({"url": "http://centre.example"}, "https://HOST:PORT"),
        ({"url": None}, "url: is required"),
        ({"site": None}, "are required as long as there is no"),
        ({"gate": "a b"}, "gate: 'a b' is no name"),
        ({"tokenfile": "x"}, "did you mean 'token_file'"),
    ):
        place.write(**changes)
        done = place.enrol()
        assert (done.exit_code, words in done.stderr) == (EX_CONFIG, True), done.stderr
    place.enrol_toml.unlink()
    done = place.enrol()
    assert (done.exit_code, "enrol.example.toml" in done.stderr) == (EX_CONFIG, True)


def test_the_example_can_be_used(tmp_path: Path) -> None:
    config = load_enrol_config(Path("deploy/enrol.example.toml"))
    assert (config.url, config.site) == ("https://centre.example:8884", None)
    commented = Path("deploy/enrol.example.toml").read_text().replace("\n# site", "\nsite")
    path = tmp_path / "enrol.toml"
    path.write_text(commented.replace("\n# gate", "\ngate").replace("\n# state_dir", "\nstate_dir"))
    assert load_enrol_config(path).gate == "gate-1a2b3c4d"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError):
        load_enrol_config(path)


# The clock


class FakeClock:
    """Time that passes when somebody sleeps; `synchronised_at`: seconds after which it is right."""

    def __init__(self, wall_ms: int, synchronised_at: float | None = None, right_ms: int = 0) -> None:
        self.slept = 0.0
        self._wall_ms, self._at, self._right_ms = wall_ms, synchronised_at, right_ms

    def now(self) -> Moment:
        is_right = self._at is not None and self.slept >= self._at
        wall_ms = self._right_ms if is_right else self._wall_ms
        return Moment(round(self.slept * 1e9), wall_ms + round(self.slept * 1000), is_right)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def waited(clock: FakeClock, ca_file: Path | None = None) -> float:
    await_clock(EnrolConfig("https://x", ca_file), clock, 60, clock.sleep)
    return clock.slept


def test_the_clock_is_waited_for(tmp_path: Path) -> None:
    now = now_ms()
    assert waited(FakeClock(now, 0, now)) == 0
    assert waited(FakeClock(0, 20, now)) == 20, "the time server answers"
    assert waited(FakeClock(now)) == 60, "no time server, and nothing speaks against it"
    for clock in (FakeClock(0), FakeClock(0, 0, 0)):
        with pytest.raises(EnrolError, match="the clock is not set: it says 1970-01-01") as raised:
            waited(clock)
        assert not raised.value.lasting
    make_authority(tmp_path, now + 10 * DAY_MS)
    with pytest.raises(EnrolError, match="before this software or the centre's authority"):
        waited(FakeClock(now), tmp_path / "ca.pem")


def test_in_1970_no_connection_is_even_tried(place: Place, monkeypatch: Any) -> None:
    place.give_token()
    monkeypatch.setattr("gate.shell.clock.SystemClock.now", lambda _: Moment(0, 5_000, False))
    monkeypatch.setattr(enrolment.HttpsPost, "post", lambda *_: pytest.fail("it connected"))
    done = place.enrol()
    assert (done.exit_code, "the clock is not set" in done.stderr) == (EX_TEMPFAIL, True)


def test_a_clock_that_the_centre_finds_wrong_is_said(place: Place) -> None:
    place.give_token()
    place.clock.ahead_ms = DAY_MS
    done = place.enrol()
    assert (done.exit_code, "more than 12 hours" in done.stderr) == (EX_TEMPFAIL, True)
    assert place.token.exists()


# What the centre answers


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda answer, other: answer | {"certificate": other}, "another key or name"),
        (lambda answer, _: answer | {"ca": answer["certificate"]}, "cannot be used"),
        (lambda answer, _: answer | {"certificate": "junk"}, "cannot be used"),
        (lambda answer, _: answer | {"centre": {}}, "cannot be used"),
        (lambda answer, _: answer | {"centre": None}, "cannot be used"),
        (lambda answer, _: {}, "cannot be used"),
        (lambda answer, _: [], "something else"),
        (lambda answer, _: answer | {"refused": "\x1b[2J", "words": "\x1b[31mred" + "x" * 9999}, "refuses"),
    ],
)
def test_an_answer_that_is_wrong_is_not_kept(place: Place, monkeypatch: Any, change: Any, words: str) -> None:
    place.give_token()
    real = enrolment.HttpsPost.post
    other = place.authority.gate_certificate(
        "north/g-1", Ed25519PrivateKey.generate().public_key().public_bytes_raw(), now_ms()
    )
    pem = other.public_bytes(Encoding.PEM).decode()

    def post(self: Any, body: bytes) -> bytes:
        return json.dumps(change(json.loads(real(self, body)), pem)).encode()

    monkeypatch.setattr(enrolment.HttpsPost, "post", post)
    done = place.enrol()
    assert (done.exit_code != 0, words in done.stderr) == (True, True), done.stderr
    assert "\x1b" not in done.output
    assert len(done.stderr) < 2000
    assert set(place.files()) == {"device.key"}


def test_the_serial_number_is_that_of_the_processor(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert serial_number(board) == ""
    (tmp_path / "proc" / "device-tree").mkdir(parents=True)
    (tmp_path / "proc" / "cpuinfo").write_text("Hardware\t: BCM2835\nSerial\t\t: 10000000ABCDEF01\n")
    assert serial_number(board) == "10000000abcdef01"
    (tmp_path / "proc" / "device-tree" / "serial-number").write_bytes(b"100000001a2b3c4d\0")
    assert serial_number(board) == "100000001a2b3c4d"
    (tmp_path / "proc" / "device-tree" / "serial-number").write_bytes(b"x y\n\0")
    assert serial_number(board) == ""


# In another board


def test_a_card_in_another_board_asks_at_once_and_waits_for_a_person(
    place: Place, tmp_path: Path, monkeypatch: Any
) -> None:
    def put_into(serial: str) -> None:
        board = Board(tmp_path / serial)
        (board.root / "proc" / "device-tree").mkdir(parents=True, exist_ok=True)
        (board.root / "proc" / "device-tree" / "serial-number").write_text(f"{serial}\0")
        monkeypatch.setattr("gate.app.board.Board", lambda: board)

    put_into("10000000aaaaaaaa")
    place.give_token()
    assert place.enrol().exit_code == 0
    before = place.files()
    assert (place.enrol().output, place.files()) == ("", before)
    put_into("10000000bbbbbbbb")
    done = place.enrol()
    assert (done.exit_code, "for another board" in done.stdout) == (EX_TEMPFAIL, True)
    assert "card was moved, or copied" in done.stderr
    assert "central enrol allow north g-1" in done.stderr
    assert place.files() == before, "it goes on with what it has"
    [waiting] = place.book.waiting()
    place.book.allow("north", "g-1", waiting.kid, waiting.device, "Li", now_ms())
    assert place.enrol().exit_code == 0
    assert (place.enrol().output, place.files() == before) == ("", False)
    put_into("10000000aaaaaaaa")
    assert place.enrol().exit_code == EX_TEMPFAIL, "one key, one board"


# As root

NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def open_place(template: Path) -> Iterator[Place]:
    """A place where everybody may look, with a state folder that is not root's."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "central.db").write_bytes(template.read_bytes())
        with open_store(f"sqlite:///{folder / 'central.db'}") as store:
            place = Place(folder, store)
            place.keys.chmod(0o755)
            place.state.mkdir(mode=0o750)
            os.chown(place.state, NOBODY, NOBODY)
            place.token = place.state / "token"
            place.write()
            with place.serving():
                yield place


def as_root(*words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run `gate` in a process of its own: what becomes somebody else stays so."""
    # Read while it is root: an interpreter below /root, as tests may have, is nobody else's to read.
    early = "import encodings.idna; from gate.config import load_policy; load_policy('county-hall')"
    program = [sys.executable, "-c", f"{early}\n{before}\nfrom gate.cli import main; main()"]
    return subprocess.run([*program, *words], check=False, capture_output=True, text=True, timeout=60)


def enrolled_by_root(place: Place) -> subprocess.CompletedProcess[str]:
    config = ("--config", str(place.folder / "none"), "--enrol-config", str(place.enrol_toml))
    return as_root("enrol", *config, "--clock-wait-s", "0", "--again")


@only_root
def test_what_root_makes_belongs_to_the_gate(open_place: Place) -> None:
    open_place.give_token()
    done = enrolled_by_root(open_place)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"tls/gate.pem", "device.key"} < set(open_place.files())
    assert {path.stat().st_uid for path in open_place.state.rglob("*")} == {NOBODY}
    assert not open_place.token.exists()


@only_root
def test_root_follows_no_link_that_the_gates_user_has_put_there(open_place: Place) -> None:
    victim = open_place.folder / "victim"
    victim.mkdir(mode=0o755)
    (open_place.state / "tls").symlink_to(victim)
    open_place.give_token()
    done = enrolled_by_root(open_place)
    assert (done.returncode, "cannot be written" in done.stderr) == (EX_NOPERM, True), done.stderr
    assert list(victim.iterdir()) == []
    assert victim.stat().st_uid == 0


@only_root
def test_root_makes_no_folder_where_the_gates_user_may_put_a_link(open_place: Place) -> None:
    below = open_place.state / "below"
    open_place.write(state_dir=str(below))
    open_place.give_token()
    assert enrolled_by_root(open_place).returncode == 0
    assert {path.stat().st_uid for path in (below, *below.rglob("*"))} == {NOBODY}
    shutil.rmtree(below)
    victim = open_place.folder / "victim"
    victim.mkdir(mode=0o755)
    below.symlink_to(victim)
    assert enrolled_by_root(open_place).returncode == EX_NOPERM
    assert list(victim.iterdir()) == []


@only_root
def test_root_shows_nothing_that_the_gates_user_may_not_read(open_place: Place) -> None:
    device_key(open_place.folder / "secret")
    (open_place.state / "device.key").symlink_to(open_place.folder / "secret" / "device.key")
    config = write_config(open_place.folder)
    assert open_place.state == open_place.folder / "state", "as that configuration says"
    done = as_root("identity", "--config", str(config))
    assert (done.returncode, done.stdout, "cannot be read" in done.stderr) == (1, "", True), done.stderr


@only_root
def test_root_runs_a_gate_as_its_user(open_place: Place) -> None:
    told = (
        "import os; from gate.app import application; application.Application = lambda *_: print(os.getuid())"
    )
    done = as_root("run", "--config", str(write_config(open_place.folder)), before=told)
    assert done.stdout.split() == [str(NOBODY)], done.stderr


@only_root
@pytest.mark.parametrize("words", [["doctor", "--json"], ["check-config"], ["desk", "confirm"]])
def test_root_looks_at_a_gate_as_its_user(open_place: Place, words: list[str]) -> None:
    """What lies there may be a pipe, a link, or something without an end."""
    config = write_config(open_place.folder)
    told = (
        "import os; from gate.app import centre, desk, doctor, site_key\n"
        "def told(*_): print(os.getuid(), os.getgid(), os.getgroups(), sep=';', end=';'); return []\n"
        "doctor.examine = site_key.site_key_problems = told\n"
        "desk.ask = lambda *_: told() or {}"
    )
    done = as_root(*words[:1], "--config", str(config), *words[1:], before=told)
    nobody = pwd.getpwuid(NOBODY)
    groups = os.getgrouplist(nobody.pw_name, nobody.pw_gid)
    assert done.stdout.startswith(f"{NOBODY};{nobody.pw_gid};{groups};"), done.stderr
    assert done.returncode == 0, done.stderr


@only_root
def test_root_asks_a_socket_as_the_user_whose_folder_it_is_in(open_place: Place) -> None:
    told = "import os; from gate.app import desk; desk.ask = lambda *_: print(os.getuid()) or {}"
    done = as_root("desk", "--socket", str(open_place.state / "desk.sock"), "confirm", before=told)
    assert done.stdout.split()[0] == str(NOBODY), done.stderr


@only_root
def test_root_takes_the_users_own_group_and_not_the_folders(open_place: Place) -> None:
    os.chown(open_place.state, NOBODY, 4)
    told = (
        "import os; from gate.app import application; application.Application = lambda *_: print(os.getgid())"
    )
    done = as_root("run", "--config", str(write_config(open_place.folder)), before=told)
    assert done.stdout.split() == [str(pwd.getpwuid(NOBODY).pw_gid)], done.stderr


@only_root
@pytest.mark.parametrize("command", ["run", "identity"])
def test_a_state_folder_below_a_file_is_said_in_words(open_place: Place, command: str) -> None:
    (open_place.state / "file").write_text("")
    config = write_config(open_place.folder)
    config.write_text(config.read_text().replace('/state"', '/state/file/below"'))
    done = as_root(command, "--config", str(config))
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "ot a directory" in done.stderr


@only_root
def test_a_file_that_the_gate_may_not_see_is_none_for_root(open_place: Place) -> None:
    secret = open_place.folder / "secret"
    secret.mkdir(mode=0o700)
    (secret / "ca.pem").touch()
    config = write_config(open_place.folder)
    config.write_text(config.read_text().replace("[camera]", f'ca_file = "{secret}/ca.pem"\n[camera]'))
    done = as_root("check-config", "--config", str(config))
    told = f"mqtt.ca_file: there is no file {secret}/ca.pem, or none that this user may see"
    assert (done.returncode, told in done.stderr) == (78, True), done.stderr


@only_root
@pytest.mark.parametrize(
    ("words", "status"), [("doctor", 2), ("check-config", 1), ("identity", 1), ("desk", 1)]
)
def test_root_does_nothing_where_it_may_not_even_look(open_place: Place, words: str, status: int) -> None:
    """Such as a file system of the user's own, which may be another folder in a moment."""
    told = (
        "import gate.cli.owner as o\n"
        "def closed(_): raise PermissionError(13, 'Permission denied')\n"
        "o._owner = closed"
    )
    config = ("--config", str(write_config(open_place.folder)))
    done = as_root(words, *config, *(["show"] if words == "desk" else []), before=told)
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert "cannot be looked at (Permission denied); run this as the gate's user" in done.stderr


@only_root
def test_what_root_has_left_in_a_users_folder_is_said_with_its_remedy(open_place: Place) -> None:
    below, elsewhere = open_place.state / "below", open_place.folder / "elsewhere"
    below.mkdir(mode=0o700)
    config = write_config(open_place.folder)
    config.write_text(config.read_text().replace('/state"', '/state/below"'))
    done = as_root("identity", "--config", str(config))
    assert done.returncode == 1
    name = pwd.getpwuid(NOBODY).pw_name
    assert f"{below} is root's, in a folder of {name}; " in done.stderr
    assert f"sudo chown -hR {name}: {below}" in done.stderr
    open_place.write(state_dir=str(below))
    done = enrolled_by_root(open_place)
    assert (done.returncode, "is root's" in done.stderr) == (EX_NOPERM, True), done.stderr
    below.rmdir()
    elsewhere.mkdir(mode=0o700)
    below.symlink_to(elsewhere)
    done = as_root("identity", "--config", str(config))
    assert (done.returncode, "chown" in done.stderr) == (1, False), "nobody gives away what a link leads to"


def test_the_certificate_begins_before_now(place: Place) -> None:
    place.give_token()
    place.enrol()
    assert place.certificate().not_valid_before_utc < datetime.now(UTC) - timedelta(hours=12)  # noqa: TID251
