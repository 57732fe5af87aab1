"""`gate doctor --pulse`: the one test that moves something, and so never without a person's word."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from gate.app.adopted import adopted_policy
from gate.app.doctor.check import Check
from gate.app.doctor.pulse import InUseError, pulse
from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.config import load_config, load_policy


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
