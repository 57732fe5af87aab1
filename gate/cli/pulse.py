"""What `gate doctor` needs around its checks; and --pulse, the one test that moves something.

That one is never made without a person's word.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from gate.app.adopted import adopted_policy
from gate.app.doctor.check import Check
from gate.app.doctor.pulse import InUseError, pulse
from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.cli.owner import become_owner
from gate.config import load_config, load_policy


@contextmanager
def as_gates_user(config_path: Path) -> Iterator[None]:
    """Give up root for the owner of the state folder; what he cannot use there, the checks say."""
    try:
        config = load_config(config_path)
    except ConfigError as error:
        config = error.sound  # without one no check reads what is the gate's
    if config is not None and (problem := become_owner(config.gate.state_dir)) and os.geteuid() == 0:
        refuse(problem, 2)
    with ExitStack() as stack:
        # lgpio makes a named pipe in the working folder as it is imported; that is root's home, as a rule.
        if "LG_WD" not in os.environ and not os.access(os.curdir, os.W_OK):
            with suppress(OSError):  # the pins will say it
                made = TemporaryDirectory(prefix="gate-doctor-", ignore_cleanup_errors=True)
                os.environ["LG_WD"] = stack.enter_context(made)
        yield


def pulsed(config_path: Path) -> Iterator[Check]:
    """Yield the checks of one pulse of the relay; end in words where it may not be given."""
    if not sys.stdin.isatty():
        refuse("--pulse frees the arm, and asks the person at the gate before: run it in a terminal", 2)
    try:
        config = load_config(config_path)
        policy = adopted_policy(config.gate.state_dir, load_policy(config.gate.policy))
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    if config.simulation is not None:
        refuse("all hardware is simulated: there is no relay to test", 2)
    try:
        yield from pulse(config, policy, lambda question: click.confirm(question, err=True))
    except InUseError as error:
        refuse(str(error), 1)
