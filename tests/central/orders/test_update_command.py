"""`central update` and `central updates`: ring by ring, and what came of it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from central.cli import main
from central.config import parse_config
from central.orders import book
from central.orders.verify import verify
from central.store import Store, open_store
from central.updates.settings import RingSettings
from gate.checked import ConfigError
from tests.brokers import free_port
from tests.central.orders.ordering import a_gate, deliver, reply
from tests.central.running import write_config
from tests.central.store.ledgers import Centre, Ledger

RINGS = """
[[ring]]
name = "first"
gates = ["north/g-1"]
[[ring]]
name = "some"
gates = ["north/g-2", "north/g-3"]
[[ring]]
name = "all"
gates = ["*/*"]
"""


@pytest.fixture
def config(tmp_path: Path, sqlite_template: Path) -> Path:
    folder = tmp_path / "centre"
    assert CliRunner().invoke(main, ["init", str(folder)]).exit_code == 0
    shutil.copy(sqlite_template, folder / "central.db")
    path = write_config(folder, free_port())
    path.write_text(path.read_text("utf-8") + RINGS, "utf-8")
    return path


@pytest.fixture
def store(config: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{config.parent / 'central.db'}") as opened:
        yield opened


@pytest.fixture
def gates(store: Store) -> dict[str, Ledger]:
    made = {name: a_gate(store, name, f"epoch-{name}") for name in ("g-1", "g-2", "g-3", "g-4")}
    for ledger in made.values():
        ledger.write(1, "gate.started", version="0.1.0", run="r", policy="p", policy_hash="h")
        deliver(store, ledger, 6)
    return made


def central(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--config", str(config)])


def tell(config: Path, version: str, *words: str) -> Result:
    return central(config, "update", version, "--by", "Li", *words)


def shown(config: Path) -> dict[str, dict[str, Any]]:
    lines = central(config, "updates", "--json").stdout.splitlines()
    return {said["gate"]: said for said in map(json.loads, lines)}


def ordered(store: Store) -> list[tuple[str, str]]:
    return sorted((order.gate, order.summary) for order in book.newest(store.engine, 100))


def order_of(store: Store, gate: str) -> book.Order:
    return book.newest(store.engine, 1, "north", gate)[0]


def take(store: Store, ledger: Ledger, outcome: str = "done", reason: str = "") -> None:
    first = ledger.size + 1
    reply(ledger, order_of(store, ledger.gate), outcome, reason)
    deliver(store, ledger, first)


def report(store: Store, ledger: Ledger, outcome: str, detail: str = "", version: str = "0.2.0") -> None:
    first = ledger.size + 1
    command = order_of(store, ledger.gate).id
    ledger.write(
        1, "update", command=command, version=version, previous="0.1.0", outcome=outcome, detail=detail,
        abnormal=outcome in {"rolled_back", "refused"},
    )  # fmt: skip
    deliver(store, ledger, first)


def test_a_ring_is_told_gate_by_gate(config: Path, store: Store, gates: dict[str, Ledger]) -> None:
    done = tell(config, "0.2.0", "--ring", "first")
    assert (done.exit_code, done.stdout) == (0, "north/g-1: 0.2.0 asked for; runs 0.1.0\n")
    assert ordered(store) == [("g-1", "to 0.2.0")]
    problems: list[Any] = []
    keys = [order_keys(config)]
    assert verify(store, keys, problems.append) == 1
    assert problems == []


def order_keys(config: Path) -> bytes:
    from central.keys import load_keys

    return load_keys(config.parent).sign.public_key().public_bytes_raw()


def test_how_an_update_stands(config: Path, store: Store, gates: dict[str, Ledger]) -> None:
    north = gates["g-1"]
    assert shown(config)["g-1"] | {"gate": ""} == {
        "site": "north", "gate": "", "runs": "0.1.0", "wanted": "", "state": None, "detail": "",
        "command": None,
        "by": None, "made_ms": None, "seq": None, "proved": False,
    }  # fmt: skip
    tell(config, "0.2.0", "--gate", "north/g-1")
    assert shown(config)["g-1"]["state"] == "asked"
    take(store, north)
    assert shown(config)["g-1"]["state"] == "taken"
    assert "taken at record 7; what came of it: central updates" in central(config, "commands").stdout
    assert json.loads(central(config, "commands", "--json").stdout)["state"] == "taken"
    report(store, north, "waiting", "for the quiet hours, 02:00 to 04:00")
    assert "0.2.0 waiting (for the quiet hours, 02:00 to 04:00)" in central(config, "updates").stdout
    report(store, north, "done")
    north.write(1, "gate.started", version="0.2.0", run="r", policy="p", policy_hash="h")
    deliver(store, north, north.size)
    told = shown(config)["g-1"]
    assert (told["state"], told["runs"], told["wanted"], told["by"]) == ("done", "0.2.0", "0.2.0", "Li")
    assert (told["seq"], told["proved"]) == (9, True)


def test_what_a_gate_has_not_signed_for_is_not_done(
    config: Path, store: Store, gates: dict[str, Ledger]
) -> None:
    tell(config, "0.2.0", "--gate", "north/g-1")
    take(store, gates["g-1"])
    ledger = gates["g-1"]
    ledger.write(1, "update", command=order_of(store, "g-1").id, version="0.2.0", previous="0.1.0",
                 outcome="done", detail="")  # fmt: skip
    Centre(store).take(ledger.arrived(ledger.size))
    assert shown(config)["g-1"]["state"] == "unproved"
    assert tell(config, "0.2.0", "--ring", "some").exit_code == 1


def test_a_result_of_another_command_says_nothing_of_this_one(
    config: Path, store: Store, gates: dict[str, Ledger]
) -> None:
    tell(config, "0.2.0", "--gate", "north/g-1")
    take(store, gates["g-1"])
    report(store, gates["g-1"], "done")
    tell(config, "0.3.0", "--gate", "north/g-1")
    assert (shown(config)["g-1"]["wanted"], shown(config)["g-1"]["state"]) == ("0.3.0", "asked")


def test_a_gate_that_does_not_obey_can_be_told_again(
    config: Path, store: Store, gates: dict[str, Ledger]
) -> None:
    tell(config, "0.2.0", "--gate", "north/g-1")
    take(store, gates["g-1"], "refused", "expired")
    assert (shown(config)["g-1"]["state"], shown(config)["g-1"]["detail"]) == ("void", "expired")
    assert "asked for; runs" in tell(config, "0.2.0", "--ring", "first").stdout
    assert len(ordered(store)) == 2


def test_a_gate_that_is_at_it_is_not_told_again(config: Path, store: Store, gates: dict[str, Ledger]) -> None:
    tell(config, "0.2.0", "--ring", "first")
    again = tell(config, "0.2.0", "--ring", "first", "--gate", "north/g-1", "--gate", "north/g-2")
    assert (again.exit_code, again.stdout.splitlines()) == (
        0, ["north/g-1: 0.2.0 was asked for already (asked)", "north/g-2: 0.2.0 asked for; runs 0.1.0"],
    )  # fmt: skip
    assert ordered(store) == [("g-1", "to 0.2.0"), ("g-2", "to 0.2.0")]


def test_each_ring_waits_for_the_one_before(config: Path, store: Store, gates: dict[str, Ledger]) -> None:
    early = tell(config, "0.2.0", "--ring", "some")
    assert (early.exit_code, ordered(store)) == (1, [])
    assert "no gate of the ring 'first', which comes before, has done 0.2.0 yet" in early.stderr
    tell(config, "0.2.0", "--ring", "first")
    take(store, gates["g-1"])
    assert tell(config, "0.2.0", "--ring", "some").exit_code == 1
    report(store, gates["g-1"], "done")
    assert tell(config, "0.2.0", "--ring", "some").exit_code == 0
    take(store, gates["g-3"])
    report(store, gates["g-3"], "done")
    assert tell(config, "0.2.0", "--ring", "all").exit_code == 0
    assert ordered(store) == [(f"g-{n}", "to 0.2.0") for n in range(1, 5)]


@pytest.mark.parametrize(("outcome", "words"), [("rolled_back", "rolled back"), ("refused", "refused")])
def test_what_one_gate_had_to_undo_goes_no_further(
    config: Path, store: Store, gates: dict[str, Ledger], outcome: str, words: str
) -> None:
    tell(config, "0.2.0", "--gate", "north/g-1", "--gate", "north/g-2")
    for gate, came in (("g-1", "done"), ("g-2", outcome)):
        take(store, gates[gate])
        report(store, gates[gate], came, "it fell" if came != "done" else "")
    assert shown(config)["g-2"]["state"] == outcome
    further = tell(config, "0.2.0", "--ring", "all")
    assert further.exit_code == 1
    assert f"north/g-2: 0.2.0 was {words} (it fell)" in further.stderr
    assert tell(config, "0.2.0", "--gate", "north/g-4").exit_code == 0  # somebody has looked into it
    assert tell(config, "0.3.0", "--ring", "first").exit_code == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("0.2.0",), 2, "--ring, or gates with --gate"),
        (("0.2.0", "--ring", "last"), 2, "there are: first, some, all"),
        (("0.2.0", "--gate", "north/g-9"), 2, "no gate whose key is believed"),
        (("newest", "--ring", "first"), 2, "no version of the package"),
        (("0.2.0; reboot", "--ring", "first"), 2, "no version of the package"),
    ],
)
def test_what_cannot_be_told(
    config: Path, store: Store, gates: dict[str, Ledger], words: tuple[str, ...], status: int, said: str
) -> None:
    done = tell(config, *words)
    assert (done.exit_code, ordered(store)) == (status, [])
    assert said in done.stderr


def test_a_gate_that_nothing_is_known_of_does_not_keep_the_others(
    config: Path, store: Store, gates: dict[str, Ledger]
) -> None:
    Centre(store).register(Ledger("epoch-g-5", gate="g-5"))
    done = tell(config, "0.2.0", "--gate", "north/g-5", "--gate", "north/g-1")
    assert done.exit_code == 1
    assert "north/g-5: not asked: " in done.stderr
    assert ordered(store) == [("g-1", "to 0.2.0")]


# --- the rings


def test_who_is_in_a_ring() -> None:
    ring = RingSettings("r", ("hall/north-1", "office/*"))
    assert ring.holds("hall", "north-1")
    assert ring.holds("office", "any")
    assert not ring.holds("hall", "north-2")
    assert RingSettings("all", ("*/*",)).holds("hall", "north-2")


SMALLEST = {"centre": {"keys_dir": "/k", "store": "sqlite:////s"}, "mqtt": {"host": "b"}}


@pytest.mark.parametrize(
    ("rings", "problem"),
    [
        ([{"name": "a", "gates": ["hall"]}], "ring 'a': 'hall' is neither SITE/GATE"),
        ([{"name": "a", "gates": ["hall/north*"]}], "is neither SITE/GATE"),
        ([{"name": "a", "gates": []}], "ring 'a': gates: "),
        ([{"name": "a", "gates": ["*/*"]}] * 2, "ring: two are called 'a'"),
        ([{"name": "a", "gate": ["*/*"]}], "did you mean 'gates'"),
    ],
)
def test_rings_that_are_none(rings: list[Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=r".") as caught:
        parse_config("x", {**SMALLEST, "ring": rings})
    assert problem in str(caught.value)
