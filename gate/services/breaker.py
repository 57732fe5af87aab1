"""A circuit breaker: a service that keeps failing is left alone for a while, so that nobody waits for it.

| state     | asks      | becomes                                                        |
|-----------|-----------|----------------------------------------------------------------|
| closed    | always    | open after `failures_max` failures in a row                    |
| open      | never     | half-open after `pause_s`                                      |
| half-open | one trial | closed when the trial succeeds, open again when it fails       |
"""

from collections.abc import Callable


class CircuitBreaker:
    """Says whether to ask; each permitted question is followed by `succeeded` or `failed`, one at a time."""

    def __init__(self, *, failures_max: int, pause_s: float, monotonic: Callable[[], float]) -> None:
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._monotonic = monotonic
        self._failures = 0
        self._open_until_s: float | None = None

    def permits(self) -> bool:
        """Return whether the service may be asked now."""
        return self._open_until_s is None or self._monotonic() >= self._open_until_s

    def succeeded(self) -> None:
        """Note that the service works."""
        self._failures, self._open_until_s = 0, None

    def failed(self) -> None:
        """Note that the service failed; after half-open one failure is enough."""
        self._failures += 1
        if self._failures >= self._failures_max:
            self._open_until_s = self._monotonic() + self._pause_s
