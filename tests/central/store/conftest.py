from pathlib import Path

import pytest

from central.store import Store
from tests.central.conftest import DATABASES, empty_store
from tests.central.store.ledgers import Centre, Ledger


@pytest.fixture(params=DATABASES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a store with nothing in it."""
    return empty_store(request, tmp_path)


@pytest.fixture
def centre(store: Store) -> Centre:
    return Centre(store)


@pytest.fixture
def ledger(centre: Centre) -> Ledger:
    """A ledger of 10 records whose gate is registered."""
    ledger = Ledger()
    ledger.write(10)
    centre.register(ledger)
    return ledger
