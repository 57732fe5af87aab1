"""What the subcommands of `central` share: options, the way to configuration and store, and how they refuse.

It imports nothing slow: a command imports what it needs when it is called, so that each starts quickly.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from central.config import Config
    from central.store import Store

# ruff: noqa: PLC0415 - see above

PATH: Final = click.Path(path_type=Path)
CONFIG: Final = click.option(
    "--config", "config_path", type=PATH, default=Path("/etc/central/central.toml"), show_default=True,
    envvar="CENTRAL_CONFIG", help="The centre's configuration.",
)  # fmt: skip
AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="For scripts: JSON instead.")
LANG: Final = click.option(
    "--lang", type=click.Choice(["zh", "en"]), help="Language of the texts; that of the reports without it."
)


def _a_name(_context: click.Context, _option: click.Parameter, value: str) -> str:
    """Return the name of somebody who answers for what they do, or refuse what is none."""
    from central.alerts.book import NAME_MAX

    name = value.strip()
    if not 1 <= len(name) <= NAME_MAX or not name.isprintable():
        raise click.BadParameter(f"1 to {NAME_MAX} printable characters")
    return name


NUMBER: Final = click.IntRange(1, 2**63 - 1)
"""The number of a row: what a database can look for."""


class Main(click.Group):
    """The whole command. What is no text in UTF-8 it refuses before anybody looks for it in a database."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, of subcommands as well."""
        for said in args:
            try:
                said.encode()
            except UnicodeEncodeError:
                shown = said.encode(errors="replace").decode()
                raise click.UsageError(f"{shown} is no text in UTF-8", ctx) from None
        return super().parse_args(ctx, args)


BY: Final = click.option("--by", required=True, callback=_a_name, help="Who answers for it.")


def refuse(message: str, status: int) -> NoReturn:
    """Say on standard error what is wrong and what to do, and end with this status."""
    click.echo(message, err=True)
    sys.exit(status)


def configured(path: Path) -> Config:
    """Return a configuration; a command ends with everything that is wrong with one that cannot be used."""
    from central.config import load_config
    from gate.checked import EX_CONFIG, ConfigError

    try:
        return load_config(path)
    except ConfigError as error:
        refuse(str(error), EX_CONFIG)


@contextmanager
def opened(config_path: Path) -> Iterator[tuple[Store, Config]]:
    """Give the store of a configuration; a command that cannot use it, now or later, ends in one sentence."""
    from central.store import StoreError, open_store

    config = configured(config_path)
    try:
        with open_store(config.centre.store) as store:
            yield store, config
    except StoreError as error:
        refuse(str(error), 1)
