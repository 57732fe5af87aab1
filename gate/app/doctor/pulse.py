"""The strict test of the turnstile: one real pulse of the relay, and a person who goes through.

It frees the arm, so a person is asked before, each time, and there is no way to answer beforehand.
"""

import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any, Final

from drivers.errors import DeviceError
from drivers.pins import open_pin_factory
from drivers.turnstile import Turnstile
from gate.app.doctor.check import Check, Status, skipped
from gate.app.doctor.machine import opened_lock
from gate.app.hardware import UNLOCK_MS_MAX
from gate.config import Config
from gate.core.policy import Policy

PULSE: Final = ("relay", "passage", "arm")
PASSAGE_S: Final = 20.0
OFF_WITHIN_S: Final = 1.0
_LOOK_S: Final = 0.002
_AGAIN_S: Final = 0.5  # a contact that counts one passage twice does it at once


class InUseError(Exception):
    """A gate runs, or may run: its relay is not to be driven beside it."""


def pulse(
    config: Config,
    policy: Policy,
    ask: Callable[[str], bool],
    *,
    pin_factory: Any = None,
    passage_s: float = PASSAGE_S,
) -> Iterator[Check]:
    """Ask, free the arm for one pulse of the policy's length, and check relay, passage contact and arm.

    `ask` puts a question to the person who stands at the gate. Whoever does not say yes has nothing moved.
    Raises InUseError when a gate runs.
    """
    ms = policy.timing.unlock_ms
    with _alone(config):
        question = (
            f"The relay on GPIO{config.pins.relay} will free the arm for {ms} ms. "
            "Is nobody in it, and is somebody ready to go through once, as soon as it clicks?"
        )
        if not ask(question):
            advice = "test it when the arm is empty: until then nobody knows that it opens"
            yield Check("relay", Status.WARNING, "not agreed to, nothing was moved", advice=advice)
            yield from (skipped(name, "see relay") for name in PULSE[1:])
            return
        found: list[Check] = []
        try:
            for check in _tested(config, ms, pin_factory, ask, passage_s):
                found.append(check)
                yield check
        except DeviceError as error:
            if not any(check.status is Status.FAILED for check in found):
                yield Check("relay", Status.FAILED, f"{error.device}: {error.problem}", advice=error.advice)
        yield from (skipped(name, "see relay") for name in PULSE[max(1, len(found)) :])


@contextmanager
def _alone(config: Config) -> Iterator[None]:
    """Keep a gate from starting meanwhile. The lock's file is not made: it belongs to the gate's user."""
    try:
        lock = opened_lock(config.gate.state_dir)
    except (FileNotFoundError, NotADirectoryError):
        yield  # no gate has ever run here
        return
    except OSError as error:
        raise InUseError(f"cannot tell whether a gate runs ({error.strerror}); run it as root") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError("the gate is running; stop it first: systemctl stop gate") from None
        yield


def _tested(
    config: Config, ms: int, given: Any, ask: Callable[[str], bool], passage_s: float
) -> Iterator[Check]:
    turned = threading.Semaphore(0)
    with ExitStack() as stack:
        factory = given or stack.enter_context(closing(open_pin_factory(config.pins.factory)))
        turnstile = Turnstile(
            config.pins.relay,
            config.pins.passage,
            pin_factory=factory,
            unlock_ms_max=UNLOCK_MS_MAX,
            on_turned=turned.release,
            on_failed=lambda _: None,  # the level that is read back says it
        )
        stack.enter_context(closing(turnstile))
        relay = _pulsed(turnstile, ms)
        yield relay
        if relay.status is Status.FAILED:
            return
        yield _passed(turned, passage_s)
        advice = "check the wires from relay to turnstile, the turnstile's own supply and its settings"
        well = ask("Did the arm come free, and is it locked again now?")
        value = "free for one, locked again" if well else "the person at the gate says no"
        yield Check("arm", Status.OK if well else Status.FAILED, value, advice="" if well else advice)


def _pulsed(turnstile: Turnstile, ms: int) -> Check:
    limit = f"{ms} ms, at most {ms + 1000 * OFF_WITHIN_S:.0f}"
    began_s = time.monotonic()
    turnstile.unlock(ms)
    on = turnstile.unlocked
    until_s, pause = began_s + ms / 1000 + OFF_WITHIN_S, threading.Event()
    while (still_on := turnstile.unlocked) and time.monotonic() < until_s:
        pause.wait(_LOOK_S)
    took_ms = (time.monotonic() - began_s) * 1000
    if still_on:
        advice = "switch the relay's supply off now: the pin stays high; then replace the board"
        return Check("relay", Status.FAILED, "it stays on", limit, advice)
    if not on:
        advice = "the pin did not go high: look for a short to ground on the relay's input"
        return Check("relay", Status.FAILED, "it does not come on", limit, advice)
    return Check("relay", Status.OK, f"on for {took_ms:.0f} ms, off again", limit)


def _passed(turned: threading.Semaphore, passage_s: float) -> Check:
    limit = f"once within {passage_s:g} s"
    count = int(turned.acquire(timeout=passage_s))
    while count and turned.acquire(timeout=_AGAIN_S):
        count += 1
    if count == 1:
        return Check("passage", Status.OK, "counted once", limit)
    advice = "check the passage contact and its wire to ground (docs/wiring.md)"
    if count == 0:
        return Check("passage", Status.FAILED, "not seen", limit, advice)
    return Check("passage", Status.WARNING, f"counted {count} times", limit, advice)
