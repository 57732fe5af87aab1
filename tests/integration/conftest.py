"""A town of real processes, on each database that the centre knows."""

from collections.abc import Iterator
from pathlib import Path

from pytest import fixture

from tests.central.conftest import postgres, postgres_template, sqlite_template
from tests.integration.fault_town import Town

__all__ = ["postgres", "postgres_template", "sqlite_template"]


@fixture
def town(tmp_path: Path, sqlite_template: Path) -> Iterator[Town]:
    with Town(tmp_path, sqlite_template) as found:
        yield found
