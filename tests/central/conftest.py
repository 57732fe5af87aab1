"""A centre's store on every database that it knows."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from central.store import Store, open_store
from tests.central.postgres import Postgres
from tests.central.reused import ReusedDatabase

DATABASES = ["sqlite", "postgresql"]
QUICK_DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)]
"""SQLite; in `make soak` PostgreSQL as well, which takes ten times as long over it."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with Postgres() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "central.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres) -> str:
    url = postgres.new_database()
    open_store(url).close()
    return url


@pytest.fixture(scope="session")
def postgres_reused(postgres: Postgres, postgres_template: str) -> ReusedDatabase:
    return ReusedDatabase(lambda: postgres.new_database(postgres_template))


@pytest.fixture(params=DATABASES)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without any table."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'central.db'}"
    cluster: Postgres = request.getfixturevalue("postgres")
    return cluster.new_database()


def empty_store(request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of a store with nothing in it: a copy, or one put back, as migrating takes long."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_template"), folder / "central.db")
        return f"sqlite:///{folder / 'central.db'}"
    reused: ReusedDatabase = request.getfixturevalue("postgres_reused")
    return reused.url()


@pytest.fixture(params=QUICK_DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store with nothing in it, for what is built on the store."""
    return empty_store(request, tmp_path)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_store(store_url) as opened:
        yield opened
