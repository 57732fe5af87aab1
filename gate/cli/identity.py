"""`gate identity`: by which key the centre is to know this gate."""

from pathlib import Path

import click

from gate.checked import ConfigError
from gate.cli.ending import EX_CONFIG, refuse
from gate.config import load_config

# ruff: noqa: PLC0415 - a command imports what it needs when it is called, so that each starts quickly


@click.command()
@click.option(
    "--config", "config_path", type=click.Path(path_type=Path), default=Path("/etc/gate/gate.toml"),
    show_default=True, help="The gate's configuration.",
)  # fmt: skip
def identity(config_path: Path) -> None:
    """Print site, gate and public key as one line of JSON, for `central gates add`.

    The key is made when there is none yet; its private half stays in the state folder. May be run beside a
    running gate.
    """
    from gate.app.identity import IdentityError, as_line, device_key
    from gate.cli.owner import work_as_owner

    try:
        gate = load_config(config_path).gate
        work_as_owner(gate.state_dir)
        click.echo(as_line(gate.site, gate.id, device_key(gate.state_dir)))
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)
    except IdentityError as error:
        refuse(str(error), 1)
