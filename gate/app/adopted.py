"""The plan that the centre has sent: kept beside the ledger, and followed from the next start on as well.

    <state_dir>/policy.toml

It takes the place of the plan in the configuration for as long as the file is there. Root reads it as well,
for the quiet hours: so nothing in it may lead to other files.
"""

import logging
from pathlib import Path
from typing import Final

from gate.checked import ConfigError
from gate.config import parse_policy
from gate.core.commands import TEXT_MAX
from gate.core.policy import Policy
from gate.durable import read_plain, replace

log = logging.getLogger(__name__)

POLICY_NAME: Final = "policy.toml"
_BYTES_MAX: Final = 4 * TEXT_MAX  # of UTF-8


class PolicyUnfitError(Exception):
    """A policy that cannot be followed or not be kept, in a sentence; what was kept before still is."""


def adopted_policy(state_dir: Path, configured: Policy) -> Policy:
    """Return the plan to follow: the one that the centre has sent last, else the configured one.

    It says which in the log, and also when what is kept can no longer be followed.
    """
    path = state_dir / POLICY_NAME
    try:
        policy = sent_policy(path)
    except FileNotFoundError:
        return configured
    except (ConfigError, OSError, ValueError) as error:
        log.error("the plan that the centre has sent cannot be followed, %s is: %s", configured.name, error)
        return configured
    log.info(
        "following %s, which the centre has sent, and not %s; take away %s to end that",
        policy.name,
        configured.name,
        path,
    )
    return policy


def sent_policy(path: Path) -> Policy:
    """Read a plan as it was kept here. Raises ConfigError, OSError and ValueError."""
    return parse_policy(str(path), read_plain(path, _BYTES_MAX).decode("utf-8"))


def adopt_policy(state_dir: Path, text: str) -> Policy:
    """Check a plan and keep it for the next start, whole or not at all. Raises PolicyUnfitError."""
    path = state_dir / POLICY_NAME
    try:
        policy = parse_policy(POLICY_NAME, text)
        replace(path, text.encode())
    except ConfigError as error:
        raise PolicyUnfitError("; ".join(error.problems)) from error
    except (OSError, UnicodeEncodeError) as error:
        raise PolicyUnfitError(f"it cannot be kept: {error}") from error
    return policy
