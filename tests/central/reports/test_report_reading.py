"""Reading a day does not take longer because a store is old."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from central.reports.scopes import Scope
from central.store import Store
from tests.central.reports.town import EVERYTHING, TownGate, ms, report


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'central.db'}"


@pytest.mark.parametrize("scope", [EVERYTHING, Scope(2, "north", ("north",))])
def test_no_query_walks_through_all_records_there_ever_were(store: Store, scope: Scope) -> None:
    gate = TownGate(store)
    gate.register()
    gate.visit(ms("2022-04-11T12:00"))
    gate.deliver(ms("2022-04-11T16:59:30"))
    asked: list[tuple[str, Any]] = []
    event.listen(store.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
    report(store, "2022-04-11", "2022-04-11T17:00", scope=scope)
    of_records = [query for query in asked if "FROM records" in query[0]]
    assert len(of_records) > 2
    with store.engine.connect() as connection:
        for statement, parameters in of_records:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [step[3] for step in plan if "records" in step[3]]
            assert steps and all(step.startswith("SEARCH records") for step in steps), (statement, steps)
            assert not any(step.endswith("(stream=?)") for step in steps), (statement, steps)
