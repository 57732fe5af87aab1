"""The service as `gate run` starts it, that also writes down each visit at the moment the relay is driven."""

import os
import signal
import sys
from pathlib import Path

from gate.app.application import Application, World
from gate.config import load_config, load_policy
from gate.core.effects import Effect, Record, Unlock
from gate.core.inputs import Input
from gate.core.moment import Moment
from gate.trust_files import load_trust


def main(config_path: str, unlocked_path: str) -> None:
    unlocked = os.open(unlocked_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    visit = ""

    def observe(_happened: Input, effect: Effect | None, _now: Moment) -> None:
        nonlocal visit
        if isinstance(effect, Record):
            visit = str(effect.event.data.get("visit"))
        elif isinstance(effect, Unlock):
            os.write(unlocked, f"{visit}\n".encode())

    config = load_config(Path(config_path))
    policy, trust = load_policy(config.gate.policy), load_trust(config.gate.trust_files)
    app = Application(config, policy, trust, World(observe=observe))
    signal.signal(signal.SIGTERM, lambda *_: app.stop())
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
