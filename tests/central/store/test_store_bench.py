import re

import pytest

from bench import bench_ingest


@pytest.mark.soak
def test_the_benchmark_of_the_store_measures_both_ways_on_every_database() -> None:
    lines = bench_ingest.run(rounds=1, batches=1)
    first = [line.split("|")[1].strip() for line in lines if line.startswith("|")]
    for database in ("SQLite", "PostgreSQL") if bench_ingest.find_binaries() else ("SQLite",):
        assert first.count(f"{database}, {bench_ingest.SHORT}") == 3
        assert first.count(f"{database}, {bench_ingest.REAL}") == 3
    assert not re.search(r"/(home|root|work|tmp|usr|var)/", "\n".join(lines))
