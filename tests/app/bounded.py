"""A bound for what must not wait for ever, such as opening a pipe that nobody writes to."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def in_time(call: Callable[[], Result], within_s: float = 10) -> Result:
    """Return what a call returns; raises TimeoutError when it takes longer, and leaves it behind then."""
    came: Future[Result] = Future()

    def answer() -> None:
        try:
            came.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the caller's
            came.set_exception(error)

    Thread(target=answer, daemon=True).start()
    return came.result(within_s)
