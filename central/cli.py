"""The `central` command."""

import click


@click.group()
def main() -> None:
    """Run the centre of the gates."""
