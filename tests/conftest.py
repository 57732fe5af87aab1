"""What all tests share."""

import gc
import os

import pytest
from hypothesis import settings

# A failure prints how to replay it. In CI the examples are the same each time: a submission is not refused
# for a draw of the dice, and everybody's own runs go on searching.
settings.register_profile("gate", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("gate")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let --dist loadgroup keep each file in one process, for what its tests share, unless marked `apart`."""
    for item in items:
        if item.get_closest_marker("apart") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_finish() -> None:
    """Keep the collector off the thousands of tests that stay to the end: a third of a run went into it."""
    gc.collect()
    gc.freeze()
