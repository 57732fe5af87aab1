"""`central command` and `central commands` as an operator meets them."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from central.cli import main
from central.clock import SystemClock
from central.orders import book, words
from central.store import Store, open_store
from tests.brokers import free_port, wait_for
from tests.central.orders.ordering import a_gate, deliver, reply
from tests.central.running import write_config
from tests.central.store.ledgers import Centre, Ledger


@pytest.fixture
def config(tmp_path: Path, sqlite_template: Path) -> Path:
    folder = tmp_path / "centre"
    assert CliRunner().invoke(main, ["init", str(folder)]).exit_code == 0
    shutil.copy(sqlite_template, folder / "central.db")
    return write_config(folder, free_port())


@pytest.fixture
def store(config: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{config.parent / 'central.db'}") as opened:
        yield opened


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return a_gate(store)


def central(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)])


def tell(config: Path, *words: str, wait_s: float = 0) -> Result:
    return central(config, "command", *words, "--by", "Li", "--wait-s", str(wait_s))


@contextmanager
def answering(store: Store, ledger: Ledger, outcome: str = "done", reason: str = "") -> Iterator[None]:
    """Have the gate answer the first command that is made."""
    known = len(book.newest(store.engine, 100))

    def serve() -> None:
        wait_for(lambda: len(book.newest(store.engine, 100)) > known, 10, "a command")
        first = ledger.size + 1
        reply(ledger, book.newest(store.engine, 1)[0], outcome, reason)
        deliver(store, ledger, first)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()


def test_it_says_at_which_record_it_was_done(config: Path, store: Store, ledger: Ledger) -> None:
    with answering(store, ledger):
        done = tell(config, "suspend", "north", "g-1", "--reason", "消毒", wait_s=20)
    assert (done.exit_code, done.stdout) == (0, "north/g-1: done at record 6\n")
    (order,) = book.newest(store.engine, 10)
    assert (order.name, order.summary, order.made_by) == ("suspend", "消毒", "Li")


@pytest.mark.parametrize(
    ("outcome", "reason", "said"),
    [
        ("refused", "expired", "refused at record 6: expired (it reached the gate too late; say it again"),
        ("failed", "fault", "failed at record 6: fault\n"),
    ],
)
def test_it_says_why_not(
    config: Path, store: Store, ledger: Ledger, outcome: str, reason: str, said: str
) -> None:
    with answering(store, ledger, outcome, reason):
        done = tell(config, "open-once", "north", "g-1", "--reason", "a parcel", wait_s=20)
    assert done.exit_code == 1
    assert done.stdout.startswith(f"north/g-1: {said}")


def test_without_an_answer_it_says_what_is_known(config: Path, store: Store, ledger: Ledger) -> None:
    done = tell(config, "checkpoint", "north", "g-1")
    assert done.exit_code == 1
    assert done.stdout.startswith("north/g-1: no answer yet: not sent yet; is `central run` at work")
    (order,) = book.newest(store.engine, 10)
    book.claim(store.engine, order, SystemClock().now_ms())
    listed = central(config, "commands").stdout
    assert "no answer yet: sent once, the last time 0 s ago; void in" in listed


def test_a_policy_is_done_when_it_is_followed(
    config: Path, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    plan = tmp_path / "hall.toml"
    plan.write_text('extends = "county-hall"\n')
    with answering(store, ledger):
        done = tell(config, "policy", "north", "g-1", "--file", str(plan), wait_s=1)
    assert done.exit_code == 1
    assert "done at record 6, but not followed yet" in done.stdout
    (order,) = book.newest(store.engine, 1)
    ledger.write(1, "policy.adopted", policy="hall", policy_hash="x", command=order.id)
    deliver(store, ledger, 7)
    assert "done at record 6, followed from record 7 on" in central(config, "commands").stdout
    assert order.summary.startswith("hall.toml, 24 bytes, SHA-256 ")


def test_an_answer_that_the_gate_has_not_signed_for_is_not_believed(
    config: Path, store: Store, ledger: Ledger
) -> None:
    tell(config, "resume", "north", "g-1")
    (order,) = book.newest(store.engine, 1)
    reply(ledger, order)
    Centre(store).take(ledger.arrived(6))
    found = book.find(store.engine, order.id)
    assert found is not None
    assert not words.settled(found)
    assert not words.well_done(found)
    assert "done at record 6 (the gate has not signed for that yet)" in central(config, "commands").stdout
    assert json.loads(central(config, "commands", "--json").stdout)["state"] == "unproved"


def test_the_list_for_scripts(config: Path, store: Store, ledger: Ledger) -> None:
    assert central(config, "commands").stdout == ""
    with answering(store, ledger):
        done = tell(config, "resend", "north", "g-1", "--after", "3", "--json", wait_s=20)
    told = json.loads(done.stdout)
    assert (told["command"], told["summary"], told["state"], told["seq"]) == ("resend", "after 3", "done", 6)
    tell(config, "resume", "north", "g-1", "--expires-s", "5")
    listed = [json.loads(line) for line in central(config, "commands", "--json").stdout.splitlines()]
    assert listed[0] == told
    assert (listed[1]["state"], listed[1]["seq"], listed[1]["proved"]) == ("waiting", None, False)
    assert [
        json.loads(line) for line in central(config, "commands", "--last", "1", "--json").stdout.splitlines()
    ] == listed[1:]
    assert central(config, "commands", "--site", "south").stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("suspend", "north", "g-9", "--reason", "x"), "north/g-9 has never sent a checkpoint"),
        (("suspend", "north", "g-1", "--reason", "x" * 101), "suspend: reason: 1 to 100 characters"),
        (("suspend", "north", "g-1"), "Missing option '--reason'"),
        (("resend", "north", "g-1", "--after", "-1"), "--after"),
        (("policy", "north", "g-1", "--file", "/nowhere/hall.toml"), "cannot be read"),
        (("checkpoint", "north", "g-1", "--expires-s", "90000"), "--expires-s"),
        (("explode", "north", "g-1"), "No such command"),
    ],
)
def test_wrong_use_makes_nothing(
    config: Path, store: Store, ledger: Ledger, words: tuple[str, ...], said: str
) -> None:
    done = tell(config, *words)
    assert done.exit_code == 2
    assert said in done.output
    assert book.newest(store.engine, 10) == []


def test_who_answers_for_it_has_to_be_said(config: Path, ledger: Ledger) -> None:
    for by in ((), ("--by", " ")):
        done = central(config, "command", "resume", "north", "g-1", *by)
        assert done.exit_code == 2
        assert "--by" in done.output


def test_without_the_centres_key_nobody_commands(config: Path, ledger: Ledger) -> None:
    (config.parent / "centre.key").unlink()
    done = tell(config, "resume", "north", "g-1")
    assert done.exit_code == 78
    assert "central init" in done.output
