"""The tables of the alerts, on each database that the store knows."""

import pytest
from sqlalchemy import Engine

from central.store import Store


@pytest.fixture
def engine(store: Store) -> Engine:
    return store.engine
