"""What commands of counters and offices ask for alike: keys, sites, instants, and how an instant is shown."""

import math
from datetime import UTC, datetime
from pathlib import Path

import click

from gate.core.codes.model import NAME

PATH = click.Path(path_type=Path)


def instant(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Read ISO 8601 as unix seconds; without an offset nobody could say which instant is meant."""
    from gate.app.day_documents import instant as read_instant  # noqa: PLC0415 - so that help comes quickly

    try:
        return None if text is None else read_instant(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def some_hours(_ctx: click.Context, _param: click.Parameter, hours: float | None) -> float | None:
    """Refuse what is no number."""
    if hours is not None and math.isnan(hours):
        raise click.BadParameter("nan is no number of hours")
    return hours


def ascii_name(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str | None:
    """Refuse a name that could not stand in a pass or a topic."""
    if text is not None and not NAME.fullmatch(text):
        raise click.BadParameter("must be 1 to 32 letters A-Z a-z, digits, '-' or '_'")
    return text


def local_time(time_s: int) -> str:
    """Return unix seconds as local time with its offset."""
    return datetime.fromtimestamp(time_s, UTC).astimezone().isoformat(timespec="seconds")


KEY = click.option("--key", "key_file", type=PATH, required=True, help="The counter's private key.")
SITE = click.option("--site", required=True, callback=ascii_name, help="As gate.site in the configuration.")
