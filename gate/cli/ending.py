"""How a command ends: in one sentence for whoever called it, with a status that a script can read.

Exit status: 0 done · 1 the answer is no (a bad ledger, a violation) · 2 wrong use · 78 configuration.
"""

import sys
from typing import NoReturn

import click

from gate.checked import EX_CONFIG

__all__ = ["EX_CONFIG", "refuse"]


def refuse(message: str, status: int) -> NoReturn:
    """Say on standard error what is wrong and what to do, and end with this status."""
    click.echo(message, err=True)
    sys.exit(status)
