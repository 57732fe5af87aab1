from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import central.alerts.tables
import central.orders.tables
import central.people.tables
import central.reports.tables
import central.updates.tables  # noqa: F401 (all tables of the centre are on one metadata)
from central.store import Store, StoreError, open_store
from central.store import tables as declared
from tests.central.postgres import Postgres
from tests.central.store.ledgers import Centre, Ledger


def test_the_migrations_make_the_tables_that_are_declared(store: Store) -> None:
    assert {"records", "alerts", "commands", "reports"} <= declared.metadata.tables.keys()
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, declared.metadata) == []


def test_a_store_is_migrated_once_however_many_open_it(empty_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_store(empty_url), range(4)))
    for store in stores:
        assert store.streams() == []
        store.close()


def test_a_store_can_be_opened_without_migrating_it(empty_url: str) -> None:
    with pytest.raises(StoreError, match="older"):
        open_store(empty_url, migrate=False)
    open_store(empty_url).close()
    open_store(empty_url, migrate=False).close()


def test_the_store_of_a_newer_version_is_refused_and_not_touched(store_url: str) -> None:
    with open_store(store_url) as store, store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'v9999'"))
    with pytest.raises(StoreError, match=r"newer version.*v9999"):
        open_store(store_url)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://localhost/central",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////nowhere/at/all/central.db",
        "postgresql+psycopg://nobody:secret@/central?host=/nowhere",
    ],
)
def test_what_is_no_database_is_refused_in_words(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "central.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{tmp_path / 'central.db'}")


def test_sqlite_flushes_what_it_commits(sqlite_template: Path) -> None:
    with open_store(f"sqlite:///{sqlite_template}") as store, store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_postgres_that_goes_and_comes_back_loses_nothing(postgres: Postgres) -> None:
    ledger = Ledger()
    ledger.write(20)
    with open_store(postgres.new_database(lasting=True)) as store:
        centre = Centre(store)
        centre.register(ledger)
        centre.take(ledger.arrived(1, 10))
        postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(StoreError, match="cannot be used"):
                    centre.take(ledger.arrived(11))
        finally:
            postgres.start()
        assert [record.body for record in store.records()] == ledger.bodies[:10]
        centre.prove(ledger, first=11)
        assert centre.problems() == []
