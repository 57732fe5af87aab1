"""The configuration that `central init` begins with."""

import json
from pathlib import Path
from typing import Final

CONFIG_NAME: Final = "central.toml"

_EXAMPLE: Final = """\
# The centre's configuration; deploy/central.example.toml explains all of it.

[centre]
keys_dir = {keys_dir}
store = {store}  # or postgresql+psycopg://centre@db.example/centre

[mqtt]
host = "127.0.0.1"          # the broker
port = 1883                 # 8883 speaks TLS
# username = "centre"
# password_file = "/etc/central/broker-password"
# ca_file = {ca_file}         # with these three, as deploy/mosquitto wants it
# cert_file = {cert_file}
# key_file = {key_file}

# [enrolment]               # devices get their certificates here: docs/enrolment.md
# port = 8884
# names = ["centre.example"]

# [[alerts.role]]           # who is told at once; addresses as Apprise writes them
# name = "duty"
# urls = ["mailtos://user:password@mail.example?to=duty@example.org"]
#
# [[alerts.rule]]
# role = "duty"
"""


def example(folder: Path) -> bytes:
    """Return a configuration for a centre that keeps everything in this folder (absolute)."""

    def quoted(text: object) -> str:
        # A JSON string is a TOML string too, as long as nothing unprintable is in it.
        return json.dumps(str(text), ensure_ascii=False)

    return _EXAMPLE.format(
        keys_dir=quoted(folder),
        store=quoted(f"sqlite:///{folder / 'central.db'}"),
        ca_file=quoted(folder / "ca.pem"),
        cert_file=quoted(folder / "tls" / "centre.pem"),
        key_file=quoted(folder / "tls" / "centre.key"),
    ).encode()
