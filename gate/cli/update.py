"""`gate update`: bring this device to the version that the centre has named, and back when it is not well."""

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path

import click

from gate.cli.ending import EX_CONFIG, refuse

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=Path("/etc/gate/gate.toml"),
    show_default=True, help="The gate's configuration.",
)  # fmt: skip
@click.option("--now", "by_hand", is_flag=True, help="Do not wait for the plan's quiet hours.")
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as one JSON object.")
def update(config_path: Path, *, by_hand: bool, as_json: bool) -> None:
    """Install the version that the centre's last `update` command names; for root, run by a timer.

    One attempt: it fetches the packages from the signed repository, installs them in the quiet hours of the
    plan, looks whether the gate is well, and otherwise goes back to the version before. One that was cut off
    is finished first.

    Exit status: 0 done, waiting, or nothing to do · 1 refused or rolled back · 2 wrong use · 75 another
    attempt or installer is at work, or the way back is barred for now · 78 configuration.
    """
    from gate.app.updating.attempt import BusyError, Places, StuckError, updater
    from gate.app.updating.packages import OccupiedError
    from gate.checked import ConfigError
    from gate.config import load_config
    from gate.core.updates import UpdateOutcome
    from gate.shell.clock import SystemClock, is_synchronised, sleep

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    if os.geteuid() != 0:
        refuse("gate update installs packages, which only root may do", 2)
    os.umask(0o022)  # the service reads what comes of it
    try:
        config = load_config(config_path)
        always = config.gate.clock == "always_trusted"
        clock = SystemClock((lambda: True) if always else is_synchronised)
        result = updater(config, config_path, Places(), clock.now, sleep, by_hand=by_hand).run()
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    except (BusyError, StuckError, OccupiedError) as error:
        refuse(str(error), os.EX_TEMPFAIL)
    except OSError as error:
        refuse(f"gate update: {error}", 1)
    if as_json:
        click.echo(json.dumps(result and asdict(result)))
    elif result is None:
        click.echo("nothing to do")
    else:
        detail = f" ({result.detail})" if result.detail else ""
        click.echo(f"{result.version}: {result.outcome}{detail}; before it {result.previous or 'none'}")
    if result is not None and result.outcome in {UpdateOutcome.REFUSED, UpdateOutcome.ROLLED_BACK}:
        raise SystemExit(1)
