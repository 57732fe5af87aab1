"""The test support itself: a missing broker must never look like a passed test."""

import pytest

from tests.brokers import require


def test_a_missing_program_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install the package some-package"):
        require("no-such-program", "some-package")


def test_a_missing_program_fails_where_nothing_may_be_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="install the package some-package"):
        require("no-such-program", "some-package")
