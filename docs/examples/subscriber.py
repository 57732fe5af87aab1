"""Prints every record once, and tells which are missing:  python3 subscriber.py [HOST PORT]."""

# ruff: noqa: T201 - it prints
import json
import sys
import zlib

from paho.mqtt import subscribe

seen, newest = set(), {}  # of each ledger; a gate begins a new one (an epoch) when its disk was lost


def take(_client, _userdata, message):
    """Take one record or a batch: each record comes at least once, and not always in order."""
    whole = zlib.decompress(message.payload) if message.topic.endswith("/ev/batch") else message.payload
    for line in whole.split(b"\n"):
        data = json.loads(line)["data"]
        ledger, seq = (data["site"], data["gate"], data["epoch"]), data["seq"]
        if (ledger, seq) not in seen:
            if seq > newest.setdefault(ledger, 0) + 1:
                print("missing as yet", *ledger, newest[ledger] + 1, "to", seq - 1, file=sys.stderr)
            seen.add((ledger, seq))
            newest[ledger] = max(newest[ledger], seq)
            print(line.decode(), flush=True)


host, port = sys.argv[1:] or ("127.0.0.1", "1883")
subscribe.callback(take, "hg/1/+/+/ev/#", qos=1, hostname=host, port=int(port))
