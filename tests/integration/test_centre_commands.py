"""Commands with real processes: `gate run` without hardware, Mosquitto, `central run`, `central command`.

The turnstile itself writes down its pulses (`world_log`): what a gate does is read there, what it says of it
in the centre's store.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from central.cli import main
from central.clock import SystemClock
from central.orders import book
from central.status import GateStatus, overview
from central.store import Store, open_store
from gate.core.commands import Address, Command, Name
from tests.brokers import HOST, Mosquitto, wait_for
from tests.chaos.plant import CENTRAL, SITE, Centre, Gate

pytestmark = pytest.mark.soak

LONG_S = 60.0


@dataclass(frozen=True)
class Said:
    """How a command has ended."""

    status: int
    words: str


class Post:
    """A broker, a centre and one gate, all real."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self._broker = broker
        self.centre = Centre(folder, broker.port)
        self.gate = Gate("g1", folder, broker.port, 1, self.centre.keys_file)
        self.gate.configure(1200)

    def start(self, sqlite_template: Path) -> None:
        shutil.copy(sqlite_template, self.centre.folder / "central.db")
        self.centre.enrol(self.gate.identity())
        self.centre.start()
        self.gate.start()
        wait_for(lambda: self.status().proved > 20, LONG_S, "visits that are proved")

    def stop(self) -> None:
        try:
            self.gate.stop()
            self.centre.stop()
        finally:
            self.gate.kill()
            self.centre.kill()

    def status(self) -> GateStatus:
        with self.store() as store:
            (status,) = overview(store, SystemClock().now_ms())
        return status

    def tell(self, *words: str) -> "Said":
        """Give a command as an operator does."""
        done = CliRunner().invoke(main, self._command(words, "Li"))
        return Said(done.exit_code, done.output)

    def told_by(self, operator: str, *words: str) -> "Said":
        """Do so in a process of its own, beside others."""
        command = [*CENTRAL, *self._command(words, operator)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONG_S)
        return Said(done.returncode, done.stdout + done.stderr)

    def _command(self, words: Sequence[str], operator: str) -> list[str]:
        name, *options = words
        more = ("--by", operator, "--config", str(self.centre.config))
        return ["command", name, SITE, "g1", *options, *more]

    @contextmanager
    def store(self) -> Iterator[Store]:
        with open_store(f"sqlite:///{self.centre.folder / 'central.db'}") as store:
            yield store

    def orders(self) -> list[book.Order]:
        with self.store() as store:
            return book.newest(store.engine, 1000)

    def replies(self, after: int = 0) -> list[tuple[Any, ...]]:
        """What the gate has recorded of commands: id, outcome, reason."""
        with self.store() as store:
            found = [json.loads(record.body)["data"] for record in store.records(kinds=["command"])]
        return [
            (data["id"], data["outcome"], data.get("reason", "")) for data in found if data["seq"] > after
        ]

    def publish(self, message: bytes, *, retain: bool = False) -> None:
        """Publish as anybody who reaches the broker."""
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        client.connect(HOST, self._broker.port)
        client.loop_start()
        client.publish(f"hg/1/{SITE}/g1/cmd", message, qos=1, retain=retain).wait_for_publish(10)
        client.disconnect()
        client.loop_stop()

    def pulses_since(self, count: int) -> int:
        return self.gate.count_pulses() - count


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Post]:
    folder = tmp_path_factory.mktemp("commands")
    with Mosquitto(folder / "broker") as broker:
        post = Post(folder, broker)
        try:
            post.start(sqlite_template)
            yield post
        finally:
            post.stop()


def good(done: Said) -> int:
    """Return the record at which it was done."""
    assert done.status == 0, done.words
    return int(done.words.split("done at record ")[1].split(",")[0])


def test_suspended_nobody_is_served_until_it_is_resumed(post: Post) -> None:
    suspended = good(post.tell("suspend", "--reason", "disinfection"))
    pulses = post.gate.count_pulses()
    wait_for(lambda: post.gate.head()[1] > suspended + 30, LONG_S, "visitors at a gate that is suspended")
    assert post.pulses_since(pulses) == 0
    opened = good(post.tell("open-once", "--reason", "the doctor"))
    wait_for(lambda: post.pulses_since(pulses), 10, "one pulse")
    wait_for(lambda: post.gate.head()[1] > opened + 20, LONG_S, "more visitors")
    assert post.pulses_since(pulses) == 1
    good(post.tell("resume"))
    wait_for(lambda: post.pulses_since(pulses) > 10, LONG_S, "visitors who may pass")


def test_what_the_gate_is_told_it_does(post: Post, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        post.gate.folder.joinpath("chaos-hall.toml").read_text().replace("chaos-hall", "next-hall")
    )
    done = post.tell("policy", "--file", str(plan))
    assert "followed from record" in done.words
    plan.write_text('extends = "county-hall"\nname = "no-hall"\nno_such_rule = 1\n')
    refused = post.tell("policy", "--file", str(plan))
    assert (refused.status, "failed at record" in refused.words) == (1, True), refused.words
    refused = post.tell("document", "--file", str(plan))
    assert (refused.status, "failed at record" in refused.words) == (1, True), refused.words
    good(post.tell("checkpoint"))
    good(post.tell("resend", "--after", "0"))


def test_what_is_published_by_others_is_refused_and_recorded(post: Post) -> None:
    last = good(post.tell("checkpoint"))
    (order,) = post.orders()[-1:]
    obeyed = [reply for reply in post.replies() if reply[0] == order.id]

    def refused(message: bytes, id_: str | None, reason: str, **how: bool) -> None:
        post.publish(message, **how)
        wait_for(lambda: (id_, "refused", reason) in post.replies(last), 20, f"a record: {reason}")

    refused(order.message, order.id, "replayed")
    stranger = Ed25519PrivateKey.generate()
    forged = command_for(order, id_="f1", counter=order.counter + 1)
    refused(forged.signed(stranger), None, "unknown_key")
    post.publish(order.message.replace(b"checkpoint", b"open_once!"))  # counted: one stranger a minute
    elsewhere = command_for(order, id_="m1", counter=order.counter + 2, epoch="another")
    refused(elsewhere.signed(centre_key(post)), "m1", "misaddressed")
    old = command_for(order, id_="e1", counter=order.counter + 3, lasted=True)
    refused(old.signed(centre_key(post)), "e1", "expired")
    kept = command_for(order, id_="r1", counter=order.counter + 4)
    # Retained it is refused only for whoever subscribes later: a gate that is there gets it as any other.
    post.gate.stop()
    post.publish(kept.signed(centre_key(post)), retain=True)
    post.gate.start()
    wait_for(lambda: ("r1", "refused", "retained") in post.replies(last), 30, "a record: retained")
    post.publish(b"", retain=True)
    # The answer to the one that was obeyed is what it was, and what was refused has done nothing.
    assert [reply for reply in post.replies() if reply[0] == order.id] == [
        *obeyed, (order.id, "refused", "replayed"),
    ]  # fmt: skip
    (again,) = [each for each in post.orders() if each.id == order.id]
    assert again.answer is not None
    assert (again.answer.outcome, again.answer.seq) == ("done", last)
    good(post.tell("checkpoint"))  # the gate's counter has not moved with any of these


def centre_key(post: Post) -> Ed25519PrivateKey:
    from central.keys import load_keys

    return load_keys(post.centre.folder).sign


def command_for(
    order: book.Order, *, id_: str, counter: int, epoch: str = "", lasted: bool = False
) -> Command:
    """What nobody has ordered: one person may pass."""
    now_s = order.made_ms // 1000
    begins, ends = (now_s - 7200, now_s - 3600) if lasted else (now_s - 60, now_s + 600)
    to = Address(order.site, order.gate, epoch or order.epoch)
    return Command(id_, to, counter, begins, ends, Name.OPEN_ONCE, {"reason": "nobody's"})


def test_a_gate_that_is_away_is_told_when_it_comes_back_in_time_and_only_then(post: Post) -> None:
    post.gate.stop()
    wait_for(lambda: post.status().stopped_ms, LONG_S, "the stop to be known")
    late = post.tell("suspend", "--reason", "too late", "--expires-s", "5", "--wait-s", "0")
    assert "no answer yet" in late.words
    (void,) = post.orders()[-1:]
    intime = post.tell("checkpoint", "--expires-s", "600", "--wait-s", "2")
    assert intime.status == 1
    assert "no answer yet: " in intime.words
    wait_for(lambda: SystemClock().now_ms() >= void.expires_ms, 20, "the first to be void")
    post.gate.start()
    state = wait_for(lambda: answered(post.orders()[-1]), LONG_S, "the answer to the second")
    assert state == "done"
    pulses = post.gate.count_pulses()
    wait_for(lambda: post.pulses_since(pulses) > 3, LONG_S, "visitors: the gate is not suspended")
    # Somebody else has kept the first one, and repeats it.
    post.publish(void.message)
    wait_for(lambda: (void.id, "refused", "replayed") in post.replies(), 20, "a record: it was overtaken")


def answered(order: book.Order) -> str:
    return str(order.answer.outcome) if order.answer and order.answer.proved else ""


def test_two_operators_at_once_are_both_answered(post: Post) -> None:
    before = {order.id for order in post.orders()}
    tasks: list[Callable[[], subprocess.CompletedProcess[str]]] = [
        lambda: post.told_by("Li", "checkpoint"),
        lambda: post.told_by("Wang", "resend", "--after", "0"),
        lambda: post.told_by("Wang", "checkpoint"),
        lambda: post.told_by("Li", "resend", "--after", "5"),
    ]
    with ThreadPoolExecutor(len(tasks)) as pool:
        records = [good(done.result()) for done in [pool.submit(task) for task in tasks]]
    orders = [order for order in post.orders() if order.id not in before]
    assert len(set(records)) == len(orders) == len(tasks)
    assert len({order.counter for order in orders}) == len(tasks)
    by_counter = sorted(orders, key=lambda order: order.counter)
    assert [order.answer.seq for order in by_counter if order.answer] == sorted(records)


def test_in_the_end_the_centre_has_everything_and_no_command_is_unanswered(post: Post) -> None:
    post.gate.stop()
    wait_for(lambda: post.status().backlog == 0 and post.status().stopped_ms, LONG_S, "all to be proved")
    # Three were signed with the centre's key beside its book, by this test: just these stand out.
    found = [(problem["what"], problem["detail"].partition(":")[0]) for problem in post.centre.problems()]
    assert sorted(found) == [("command_missing", id_) for id_ in ("e1", "m1", "r1")]
    assert [order.id for order in post.orders() if not answered(order)] == []
    # All but the one that came too late were answered in time, and nothing else is wrong either.
    assert [alarm["code"] for alarm in post.centre.alarms()] == []
