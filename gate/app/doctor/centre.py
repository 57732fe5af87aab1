"""Checks of the way to the centre: this device's key, the centre's keys, and what is not receipted yet.

Also of ledgers that were put aside for a new one: what the centre has not signed for is nowhere else.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from gate.app.centre import load_centre_keys
from gate.app.doctor.check import Check, Status, duration, skipped
from gate.app.identity import KEY_NAME, IdentityError, read_key
from gate.app.records import LEDGER_NAME
from gate.checked import ConfigError
from gate.config import Config
from gate.core.codes.trust import key_id
from gate.core.moment import Moment
from gate.durable import PRIVATE
from gate.store.database import DAMAGE, read_receipt
from gate.store.ledger import LedgerError, Outbox

CENTRE: Final = ("identity", "centre", "old ledgers")
WAITING_S_MAX: Final = 3600


def centre(config: Config, now: Moment) -> Iterator[Check]:
    """Check what receipts depend on; nothing is made, sent or changed."""
    state_dir = config.gate.state_dir
    if config.centre is None:
        yield Check("identity", Status.OK, "not needed without a centre")
        yield Check("centre", Status.OK, "none configured: the broker's word counts")
    else:
        yield _identity(state_dir / KEY_NAME)
        yield _centre(config.centre.keys_file, state_dir / LEDGER_NAME, now)
    yield _old_ledgers(state_dir)


def _centre(keys_file: Path, ledger: Path, now: Moment) -> Check:
    try:
        keys = load_centre_keys(keys_file)
    except ConfigError as error:
        advice = "\n".join(str(error).splitlines())
        return Check("centre", Status.FAILED, f"{len(error.problems)} problems with its keys", advice=advice)
    return _receipts(ledger, ", ".join(key_id(key).hex() for key in keys.sign), now)


def _identity(path: Path) -> Check:
    with suppress(OSError):  # what cannot be looked for cannot be read either, and that is said
        if not path.exists():
            advice = "make it, and register it with the centre: gate identity"
            return Check("identity", Status.WARNING, "no device key yet", "a key", advice)
    try:
        key = read_key(path)
        mode = path.stat().st_mode & 0o777
    except (IdentityError, OSError) as error:
        return Check("identity", Status.FAILED, f"{path} cannot be used", "a key", str(error))
    value = f"key {key_id(key.public_key().public_bytes_raw()).hex()}"
    if mode & ~PRIVATE:
        advice = f"chmod 600 {path}; if others may have read it, put it aside and register a new key"
        return Check("identity", Status.WARNING, f"{value}, mode {mode:o}", "mode 600", advice)
    return Check("identity", Status.OK, value, "mode 600")


def _receipts(ledger: Path, signers: str, now: Moment) -> Check:
    limit = f"receipts within {duration(WAITING_S_MAX)}"
    try:
        if not ledger.exists():
            return Check("centre", Status.OK, f"known by {signers}, no records yet", limit)
        with closing(Outbox(ledger)) as outbox:
            held, head = outbox.receipt(), outbox.head()
            done = held.upto if held is not None and held.epoch == head.epoch else 0
            oldest = next(iter(outbox.pending(done, 1)), None)
            waiting_s = _age_s(oldest.body, now) if oldest is not None else 0.0
    except (LedgerError, sqlite3.Error, OSError, ValueError, KeyError, TypeError):
        return skipped("centre", "see ledger")
    last = "none yet" if held is None else f"{duration(max(0.0, (now.wall_ms - held.at_ms) / 1000))} ago"
    value = f"known by {signers}, last receipt {last}, {head.seq - done:,} without one"
    if waiting_s <= WAITING_S_MAX:
        return Check("centre", Status.OK, value, limit)
    advice = (
        "nothing is lost; at the centre see whether it runs, knows this gate's key (central gates list) "
        "and says something about it (central alarms)"
    )
    return Check("centre", Status.WARNING, value, limit, advice)


def _age_s(body: bytes, now: Moment) -> float:
    written = datetime.fromisoformat(json.loads(body)["time"])
    return max(0.0, now.wall_ms / 1000 - written.timestamp())


def _old_ledgers(state_dir: Path) -> Check:
    """Count what the centre has not signed for in ledgers that were put aside (`gate.store.ledger.archive`).

    Such a file is not sent from any more; the warning ends when somebody has taken it out of the folder.
    """
    stem, suffix = Path(LEDGER_NAME).stem, Path(LEDGER_NAME).suffix
    try:
        # `glob` would take a folder that it may not read for an empty one.
        found = sorted(path for path in state_dir.iterdir() if path.match(f"{stem}-*{suffix}"))
    except FileNotFoundError:
        found = []
    except OSError:
        return skipped("old ledgers", "see state folder")
    left = {path: _unsigned(path) for path in found}
    doubtful = {path: one for path, one in left.items() if one != 0}
    if not doubtful:
        value = f"{len(found)} put aside, all signed for by the centre" if found else "none put aside"
        return Check("old ledgers", Status.OK, value)
    said = [
        f"{path.name} cannot be read" if one is None else f"{path.name}: {_records(one)} not signed for"
        for path, one in doubtful.items()
    ]
    advice = [
        f"examine {path}" if one is None else f"print them: gate ledger export --jsonl {path}"
        for path, one in doubtful.items()
    ]
    advice.append("compare with what the centre has (central export); then keep the file outside this folder")
    return Check("old ledgers", Status.WARNING, ", ".join(said), "all signed for", "\n".join(advice))


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count:,} records"


def _unsigned(path: Path) -> int | None:
    """Return how many records of a ledger that nobody writes to have no receipt; None if it is unreadable."""
    try:
        # As it lies there: to read in another way would leave files beside it.
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as db:
            epoch, seq = db.execute("SELECT epoch, seq FROM ledger, head").fetchone()
            held = read_receipt(db)
    except DAMAGE:
        return None
    return int(seq) - (held.upto if held is not None and held.epoch == epoch else 0)
