import pytest

from central.store import Store
from tests.central.store.ledgers import Centre, Ledger


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
