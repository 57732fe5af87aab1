"""The steps from one version of the store to the next (Alembic); `central.store.engine` runs them."""
