"""`gate ledger export --jsonl`: records with their places; and a ledger whose beginning was deleted."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gate.cli import main
from gate.core import events
from gate.core.chain import genesis, link
from gate.core.moment import Moment
from gate.ports import Held
from gate.store import outbox as outbox_module
from gate.store.ledger import Ledger, Outbox

NOW = Moment(mono_ns=1, wall_ms=1_800_000_000_000, clock_trusted=True)
RECORDS = 12


def gate(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


def exported(path: Path, *words: object) -> list[dict[str, object]]:
    result = gate("ledger", "export", path, "--jsonl", *words)
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def bodies(tmp_path: Path) -> list[bytes]:
    path = tmp_path / "ledger.db"
    with closing(Ledger(path, site="hall 北", gate="door", new_epoch="e1", boot_id="b")) as ledger:
        return [ledger.append(events.anomaly("坏", f"{n}"), NOW).body for n in range(RECORDS)]


@pytest.fixture
def path(tmp_path: Path, bodies: list[bytes]) -> Path:
    return tmp_path / "ledger.db"


def damage(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(statement)


def test_each_record_is_printed_with_its_place_in_the_chain(path: Path, bodies: list[bytes]) -> None:
    digest, expected = genesis("e1"), []
    for seq, body in enumerate(bodies, 1):
        digest = link(digest, body)
        place = {"site": "hall 北", "gate": "door", "epoch": "e1", "seq": seq, "hash": digest.hex()}
        expected.append(place | {"record": json.loads(body)})
    assert exported(path) == expected
    assert exported(path, "--after", 10) == expected[10:]
    assert exported(path, "--after", RECORDS) == []


def test_the_bytes_of_a_record_are_not_spelled_anew(path: Path, bodies: list[bytes]) -> None:
    lines = gate("ledger", "export", path, "--jsonl").stdout_bytes.splitlines()
    assert [line.partition(b'"record":')[2] for line in lines] == [body + b"}" for body in bodies]


@pytest.mark.parametrize(
    ("statement", "bad_seq"),
    [
        ("UPDATE records SET body = CAST(replace(body, '\"4\"', '\"5\"') AS BLOB) WHERE seq = 5", 5),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 5", 5),
        ("DELETE FROM records WHERE seq = 12", 12),
        ("UPDATE ledger SET epoch = 'e2'", 1),
    ],
)
@pytest.mark.parametrize("after", [0, 7])
def test_it_stops_at_the_first_record_that_is_bad(
    path: Path, bodies: list[bytes], statement: str, bad_seq: int, after: int
) -> None:
    """Also when that comes before what was asked for: no hash behind it can be vouched for."""
    damage(path, statement)
    result = gate("ledger", "export", path, "--jsonl", "--after", after)
    assert result.exit_code == 1
    assert f"bad record {bad_seq}: " in result.stderr
    seqs = [json.loads(line)["seq"] for line in result.stdout.splitlines()]
    assert seqs == list(range(after + 1, bad_seq))


@pytest.mark.parametrize("content", [None, b"", b"this is no database" * 200])
def test_a_file_that_is_no_ledger_is_status_1(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is not None:
        path.write_bytes(content)
    result = gate("ledger", "export", path, "--jsonl")
    assert (result.exit_code, result.stdout) == (1, "")
    assert str(path) in result.stderr


@pytest.fixture
def pruned(path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    def prune() -> int:
        monkeypatch.setattr(outbox_module, "RECORDS_KEPT", 1)
        with closing(Outbox(path)) as outbox:
            digest = outbox.hash_at(9)
            assert digest is not None
            outbox.receive(Held("e1", 9, digest, 1))
            return outbox.prune(NOW.wall_ms + 1)

    return prune


def test_a_ledger_without_its_beginning(path: Path, bodies: list[bytes], pruned: Callable[[], int]) -> None:
    before = exported(path)
    assert pruned() == 8
    assert exported(path) == before[8:]
    assert gate("ledger", "export", path).stdout_bytes.splitlines() == bodies[8:]
    lines = gate("ledger", "verify", path).stdout.splitlines()
    assert lines[:2] == ["ok", "records 4"]
    assert lines[-1] == "deleted up to 8, with the centre's receipt"
    assert gate("ledger", "tail", path).stdout.count("\n") == 4
