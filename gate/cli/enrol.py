"""`gate enrol`: get this gate's certificate from the centre, or renew it.

Exit status: 0 done, or nothing is due · 75 not now (network, clock, somebody has to allow it): ask again ·
77 refused: somebody has to change something · 78 configuration. 75 and 77 are those of sysexits.h.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse

if TYPE_CHECKING:
    from gate.app.enrolment import Device, EnrolConfig
    from gate.config import GateSection

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly

PATH: Final = click.Path(path_type=Path)
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
CLOCK_S: Final = 60.0


@click.command()
@click.option(
    "--config", "config_path", type=PATH, default=Path("/etc/gate/gate.toml"), show_default=True,
    help="The gate's configuration: who it is; read where there is one.",
)  # fmt: skip
@click.option(
    "--enrol-config", type=PATH, default=Path("/etc/gate/enrol.toml"), show_default=True,
    help="Where to enrol.",
)  # fmt: skip
@click.option("--again", is_flag=True, help="Also when the certificate is good, as after a revocation.")
@click.option(
    "--clock-wait-s", type=click.FloatRange(0, 3600), default=CLOCK_S, show_default=True, metavar="S",
    help="How long to wait for the time server.",
)  # fmt: skip
def enrol(config_path: Path, enrol_config: Path, again: bool, clock_wait_s: float) -> None:
    """Get this gate's certificate from its centre, or renew it when two thirds of its life are over.

    Otherwise it does nothing. One run is one attempt; a timer runs it. May be run beside a running gate.

    Exit status: 0 done or nothing due, 75 ask again later, 77 refused, 78 configuration.
    """
    from gate.app import enrolment
    from gate.app.board import Board
    from gate.app.identity import IdentityError, device_key
    from gate.cli.owner import become_owner
    from gate.shell.clock import SystemClock, sleep

    try:
        config, device, own = _read(config_path, enrol_config)
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    clock = SystemClock(enrolment.trusting(own))
    try:
        if problem := become_owner(device.state_dir):
            refuse(problem, EX_NOPERM)
        key = device_key(device.state_dir)
        due = enrolment.why_due(config, device, key, clock.now(), Board())
        if due or again:
            click.echo(f"{device.name}: {due or 'a certificate is asked for'}: {config.url}")
            enrolment.await_clock(config, clock, clock_wait_s, sleep)
            click.echo(f"{device.name}: {enrolment.enrol(config, device, key, clock, Board())}")
        if left := enrolment.forget_token(config.token_file):
            click.echo(left, err=True)
    except IdentityError as error:
        refuse(str(error), EX_NOPERM)
    except enrolment.EnrolError as error:
        refuse(f"{device.name}: {error}", EX_NOPERM if error.lasting else EX_TEMPFAIL)


def _read(config_path: Path, enrol_path: Path) -> "tuple[EnrolConfig, Device, GateSection | None]":
    """Return where to enrol, who this is, and what the gate's configuration says of it. ConfigError."""
    from gate.app.enrolment import Device, load_enrol_config, load_gate_section

    config, own = load_enrol_config(enrol_path), load_gate_section(config_path)
    if own is not None:
        return config, Device(own.site, own.id, own.state_dir), own
    if config.site is None or config.gate is None:
        problem = f"site and gate: are required as long as there is no {config_path}"
        raise ConfigError(str(enrol_path), [problem])
    return config, Device(config.site, config.gate, config.state_dir), None
