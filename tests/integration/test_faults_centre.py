"""A centre that is killed, cut off or set back, and parts that are killed while a backlog is on its way."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest import FixtureRequest, fixture

from tests.brokers import FreezingProxy
from tests.central.postgres import Postgres
from tests.integration.fault_town import QUIET, Town, until
from tests.integration.meddling import SlowProxy

pytestmark = pytest.mark.soak


@fixture
def town_on_postgresql(
    tmp_path: Path, sqlite_template: Path, postgres: Postgres, postgres_template: str
) -> Iterator[Town]:
    with Town(tmp_path, sqlite_template, store=postgres.new_database(postgres_template)) as town:
        yield town


@fixture(params=["sqlite", "postgresql"])
def any_town(request: FixtureRequest) -> Town:
    """A town whose centre keeps its records in one database or the other."""
    town: Town = request.getfixturevalue("town" if request.param == "sqlite" else "town_on_postgresql")
    return town


@fixture
def backup_of(request: FixtureRequest) -> Callable[[Town], Callable[[], None]]:
    """Make a backup of a centre's store that nobody uses, and return what restores it."""

    def copied(town: Town) -> Callable[[], None]:
        town.close_store()
        if town.store_url.startswith("sqlite"):
            kept = town.folder / "backup.db"
            shutil.copy(town.database, kept)

            def restore() -> None:
                town.close_store()
                for path in town.database.parent.glob(f"{town.database.name}*"):
                    path.unlink()
                shutil.copy(kept, town.database)
        else:
            cluster: Postgres = request.getfixturevalue("postgres")
            url = cluster.new_database(town.store_url)

            def restore() -> None:
                town.use_store(url)

        return restore

    return copied


def test_a_centre_restored_from_an_old_backup(
    any_town: Town, backup_of: Callable[[Town], Callable[[], None]]
) -> None:
    town = any_town
    gate, centre = town.gate(), town.centre()
    town.start(centre, gate)
    town.wait_proved(gate, 20)
    assert centre.terminate() == 0
    restore = backup_of(town)
    town.start(centre)
    town.wait_proved(gate, 60)
    town.wait_receipted(gate)
    assert centre.terminate() == 0
    restore()
    set_back_to, mark_before = town.proved(gate), gate.mark()
    assert set_back_to < mark_before

    town.start(town.centre())
    until(lambda: town.proved(gate) >= mark_before, lambda: f"the records again; {town.told(gate)}")
    town.wait_receipted(gate)
    town.settle(gate)
    (went_back,) = [data for data in gate.events("anomaly") if data["what"] == "receipt_went_back"]
    assert went_back["detail"].endswith(f"to record {set_back_to}")
    assert town.alarms(standing=True) == []


def test_parts_killed_while_a_backlog_is_on_its_way(town_on_postgresql: Town) -> None:
    town, backlog = town_on_postgresql, 5000
    with SlowProxy(town.broker.port, 150_000) as link:
        gate, centre = town.gate(port=link.port), town.centre()
        gate.write_beforehand(backlog)
        gate.configure(QUIET)
        town.start(centre, gate)
        done = 0
        for part in (gate, town.broker, centre):
            until(lambda done=done: town.proved(gate) > done, lambda: town.told(gate))
            part.kill()
            done = town.proved(gate)
            assert 0 < done < backlog
            part.start()
        until(lambda: town.proved(gate) >= backlog, lambda: town.told(gate))
        town.wait_receipted(gate)
        town.settle(gate)
    assert [word for word in town.alarms() if not word.startswith("missed/")] == []


def test_a_centre_whose_link_freezes_accuses_nobody(town: Town) -> None:
    gate = town.gate()
    with FreezingProxy(town.broker.port) as proxy:
        centre = town.centre(proxy.port, watch=["late_s = 5", "hole_s = 5", "lost_s = 5"])
        town.start(centre, gate)
        town.wait_proved(gate, 10)
        proxy.freeze()
        written = gate.records()
        until(lambda: "WARNING central.subscriber" in centre.log(), centre.log)  # it has given the link up
        gate.wait_records(20)
        assert gate.mark() <= written, "what the broker has acknowledged is not done"
        proxy.thaw()
        town.wait_receipted(gate)
        town.settle(gate)
    assert town.alarms(standing=True) == []
