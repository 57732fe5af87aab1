"""Checks of what surrounds the devices: configuration, state folder, ledger, outbox, clock, decoder."""

import fcntl
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import gate
from gate.app.adopted import POLICY_NAME, sent_policy
from gate.app.code_services import service_problems
from gate.app.doctor.check import Check, Status, duration
from gate.app.documents import DOCUMENTS_NAME, DocumentFolder
from gate.app.records import LEDGER_NAME
from gate.app.site_key import site_key_problems
from gate.checked import ConfigError
from gate.config import SIMULATED_BUS, Config, load_config, load_policy
from gate.core.codes import Trust
from gate.core.codes.model import Circumstances, CodeError
from gate.core.documents import Documents, open_document
from gate.core.moment import Moment
from gate.core.policy import Policy, policy_hash
from gate.store.ledger import LedgerError, Outbox, entries, verify
from gate.trust_files import load_trust

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FREE_MB_WARNING: Final = 200  # some 100,000 records; there is still time to send somebody
FREE_MB_FAILED: Final = 50
WAITING_S_MAX: Final = 3600
LOCK_NAME: Final = "lock"
MB: Final = 1_000_000

CONFIGURATION: Final = ("configuration", "policy", "trusted keys", "health services")
DOCUMENTS: Final = ("documents",)


@dataclass(slots=True)
class Found:
    """The configuration, once it has been found usable."""

    config: Config | None = None


def configuration(path: Path, found: Found) -> Iterator[Check]:
    """Check the file, the policy and the keys that it names; put a usable configuration into `found`."""
    try:
        config = found.config = load_config(path)
    except ConfigError as error:
        yield _problems("configuration", error.problems, f"{path}: ")
        return
    yield _as_configured(path, config)
    yield _policy(config)
    yield _trusted_keys(config)
    yield _health_services(config)


def _as_configured(path: Path, config: Config) -> Check:
    if config.simulation is not None:
        value = f"{path}, all simulated: visitors come by themselves"
        advice = "fine for trying things out; take [simulation] out of a gate that visitors use"
        return Check("configuration", Status.WARNING, value, advice=advice)
    simulated = {
        "thermometer": config.thermometer.bus == SIMULATED_BUS,
        "pins": config.pins.factory == "mock",
        "camera": config.camera.source in {"folder", "synthetic"},
    }
    if not any(simulated.values()):
        return Check("configuration", Status.OK, str(path))
    names = ", ".join(name for name, is_simulated in simulated.items() if is_simulated)
    advice = "fine for trying things out; a gate that visitors use needs the real parts configured"
    return Check("configuration", Status.WARNING, f"{path}, simulated: {names}", advice=advice)


def _policy(config: Config) -> Check:
    try:
        policy = load_policy(config.gate.policy)
    except ConfigError as error:
        return _problems("policy", error.problems)
    sent = config.gate.state_dir / POLICY_NAME
    if not _can_be_seen(sent):
        return Check("policy", Status.OK, _version_of(policy))
    try:
        value = f"{_version_of(sent_policy(sent))}, sent by the centre in the place of {policy.name}"
    except (ConfigError, OSError, ValueError) as error:
        problems = error.problems if isinstance(error, ConfigError) else (str(error),)
        found = _problems("policy", problems, f"{sent}: ")
        advice = f"{policy.name} is followed instead, as configured; send it again or take it away\n"
        return replace(found, status=Status.WARNING, advice=advice + found.advice)
    return Check("policy", Status.OK, value)


def _version_of(policy: Policy) -> str:
    return f"{policy.name}, version {policy.version}, {policy_hash(policy)[:12]}"


def _trusted_keys(config: Config) -> Check:
    try:
        trust = load_trust(config.gate.trust_files)
    except ConfigError as error:
        return _problems("trusted keys", str(error).splitlines())
    signers, cards = len(trust.signers), len(trust.card_issuers)
    if not (trust.keys or signers or cards):
        advice = "name the issuers' key files in gate.trust_files; until then no code can be verified"
        return Check("trusted keys", Status.WARNING, "none", "at least 1", advice)
    issuers = sorted({key.issuer for key in trust.keys})
    found = [f"{len(trust.keys)}, of {', '.join(issuers)}"] if issuers else []
    found += [f"{signers} signers of EU certificates"] if signers else []
    found += [f"{cards} issuers of SMART cards"] if cards else []
    return Check("trusted keys", Status.OK, "; ".join(found))


def _health_services(config: Config) -> Check:
    problems = [*site_key_problems(config), *service_problems(config)]
    if problems:
        return _problems("health services", problems)
    regions = sorted(service.region for service in config.codes.services)
    return Check("health services", Status.OK, ", ".join(regions) or "none configured")


def _trust_or_none(config: Config) -> Trust:
    try:
        return load_trust(config.gate.trust_files)
    except ConfigError:  # what is wrong with it stands under the trusted keys
        return Trust()


def documents(config: Config, now: Moment) -> Iterator[Check]:
    """Check the signed documents that are kept: whether each counts here, and which are out of their time."""
    at = Circumstances(config.gate.site, now.wall_ms, now.clock_trusted)
    held = Documents()
    problems: list[str] = []
    trust = _trust_or_none(config)
    for text in DocumentFolder(config.gate.state_dir / DOCUMENTS_NAME, problems.append).texts():
        try:
            held.take(open_document(text, trust=trust, site=config.gate.site))
        except CodeError as error:
            problems.append(f"a document is not taken: {error}")
    stale = held.stale(at)
    problems += [f"{kind} is out of its time, or the clock is not sure" for kind in sorted(stale)]
    value = ", ".join(f"{kind} {one.version}" for kind in sorted(held.kinds) for one in held.held(kind))
    if not problems:
        yield Check("documents", Status.OK, value or "none")
        return
    advice = "; ".join(problems) + "; look at each with: gate document show"
    yield Check("documents", Status.WARNING, value or "none", "all current", advice)


def _problems(name: str, problems: Sequence[str], where: str = "") -> Check:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return Check(name, Status.FAILED, where + count, advice="\n".join(problems))


GATE: Final = "gate"


def opened_lock(state_dir: Path) -> IO[bytes]:
    """Open the lock of a gate, which is not made; no pipe in its place is waited for. Raises OSError."""
    return open(state_dir / LOCK_NAME, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK))


def hands_off(state_dir: Path) -> tuple[Check, str | None]:
    """Tell whether a gate runs on this state folder, and if so why devices must not be touched.

    The lock is asked for shared and let go at once, so that neither a running gate nor another doctor
    notices.
    """
    try:
        with opened_lock(state_dir) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except BlockingIOError:
        return Check(GATE, Status.OK, "running"), "in use by the running gate"
    except OSError as error:
        why = f"cannot tell whether a gate runs ({error.strerror}: {state_dir / LOCK_NAME})"
        return Check(GATE, Status.WARNING, why, advice="run the doctor as root or as the gate's user"), why
    return Check(GATE, Status.OK, "not running"), None


STORAGE: Final = ("state folder", "disk space")


def storage(state_dir: Path) -> Iterator[Check]:
    """Check that records can be written below the state folder; it is not created."""
    try:
        there, made = _nearest_folder(state_dir)
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0" * 4096)
            file.flush()
    except OSError as error:
        advice = "make it a folder that the gate's user owns, on a disk that can be written to"
        value = f"{state_dir} cannot be written to: {error.strerror}"
        yield Check("state folder", Status.FAILED, value, advice=advice)
        return
    value = str(state_dir) if made else f"{state_dir} will be created"
    yield Check("state folder", Status.OK, value, "writable")
    yield disk_space(state_dir)


def disk_space(folder: Path) -> Check:
    """Check the free space where the folder is or will be."""
    free_mb = shutil.disk_usage(_nearest_folder(folder)[0]).free // MB
    status = Status.OK
    if free_mb < FREE_MB_WARNING:
        status = Status.FAILED if free_mb < FREE_MB_FAILED else Status.WARNING
    advice = "" if status is Status.OK else "free space on this disk: without it no visit can be recorded"
    limit = f"{FREE_MB_WARNING} MB, at worst {FREE_MB_FAILED}"
    return Check("disk space", status, f"{free_mb:,} MB free", limit, advice)


def _nearest_folder(folder: Path) -> tuple[Path, bool]:
    """Return the folder, or the nearest above it that exists; and whether it is the folder itself."""
    for place in (folder, *folder.absolute().parents):
        if place.exists():
            if not place.is_dir():
                raise NotADirectoryError(20, "not a folder", str(place))
            return place, place == folder
    raise FileNotFoundError(2, "no such folder", str(folder))


LEDGER: Final = ("ledger", "outbox")


def ledger(config: Config, now: Moment) -> Iterator[Check]:
    """Check every record of the ledger, and what has still to be delivered."""
    path = config.gate.state_dir / LEDGER_NAME
    try:
        if not path.exists():
            yield Check("ledger", Status.OK, "none yet")
            yield Check("outbox", Status.OK, "empty")
            return
        found, owner = verify(path), _owner(path)
        outbox = _outbox(path, now) if found.ok else None
    except (LedgerError, sqlite3.Error, OSError) as error:
        yield Check("ledger", Status.FAILED, f"{path} cannot be read", advice=str(error))
        return
    if not found.ok:
        value = f"record {found.bad_seq} is bad: {found.problem}"
        advice = f"stop the gate, move {path}* away for examination, leave the keys: it begins anew"
        yield Check("ledger", Status.FAILED, value, "every record good", advice)
        return
    own = f"hg/1/{config.gate.site}/{config.gate.id}"
    if owner not in {None, own}:
        advice = f"give gate {own} a state folder of its own: it will not write into another gate's ledger"
        yield Check("ledger", Status.FAILED, f"belongs to {owner}", own, advice)
    else:
        records = "1 record" if found.records == 1 else f"{found.records:,} records"
        yield Check("ledger", Status.OK, f"{records}, all good, head {found.head_hash[:12]}")
    if outbox:
        yield outbox


def _owner(path: Path) -> str | None:
    first = next(entries(path), None)
    return None if first is None else str(json.loads(first.body)["source"])


def _outbox(path: Path, now: Moment) -> Check:
    outbox = Outbox(path)
    try:
        acknowledged = outbox.acknowledged()
        waiting = outbox.head().seq - acknowledged
        oldest = next(iter(outbox.pending(acknowledged, 1)), None)
    finally:
        outbox.close()
    limit = f"at most {duration(WAITING_S_MAX)}"
    if oldest is None:
        return Check("outbox", Status.OK, "empty, all acknowledged", limit)
    written = datetime.fromisoformat(json.loads(oldest.body)["time"])
    age_s = max(0.0, now.wall_ms / 1000 - written.timestamp())
    value = f"{waiting:,} waiting, the oldest for {duration(age_s)}"
    if age_s <= WAITING_S_MAX:
        return Check("outbox", Status.OK, value, limit)
    advice = "nothing is lost, but nobody has received them: see broker; if no gate runs, start it"
    return Check("outbox", Status.WARNING, value, limit, advice)


CLOCK: Final = ("clock",)


def _can_be_seen(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # what lies in the folder is for the gate's user, which another check says
        return False


UNTRUSTED: Final = (
    "until then no code's validity can be checked, and visitors with a code go to the person on duty"
)


def clock(now: Moment, *, by_decree: bool, not_before: Iterable[Path]) -> Iterator[Check]:
    """Check that wall time may be believed; it cannot be earlier than the files in `not_before` are."""
    time = datetime.fromtimestamp(now.wall_ms / 1000, UTC)
    value = f"{time:%Y-%m-%d %H:%M:%S} UTC"
    written_s = max((path.stat().st_mtime for path in not_before if _can_be_seen(path)), default=0.0)
    if now.wall_ms / 1000 < written_s:
        written = datetime.fromtimestamp(written_s, UTC)
        yield Check(
            "clock",
            Status.FAILED,
            value,
            f"not before {written:%Y-%m-%d %H:%M}, when its files were written",
            "set the clock: connect the gate to a time server, or fit a real-time clock with a good battery",
        )
    elif not now.clock_trusted:
        advice = f"connect the gate to a time server (see: timedatectl timesync-status); {UNTRUSTED}"
        yield Check("clock", Status.WARNING, f"{value}, not synchronised", "NTP", advice)
    else:
        how = "trusted by the configuration" if by_decree else "kept by NTP"
        yield Check("clock", Status.OK, f"{value}, {how}")


def software() -> Path:
    """Return a file that is as old as the installed software."""
    return Path(gate.__file__)


DECODER: Final = ("decoder",)

# A QR code, version 1, error correction Q, that says DECODED: a row is a number, its highest bit on the left.
DECODED: Final = b"HEALTH GATE"
_SIDE: Final = 21
_ROWS: Final = (
    *(0x1FDE7F, 0x104741, 0x17435D, 0x17495D, 0x17565D, 0x105741, 0x1FD57F),
    *(0x000800, 0x0FEA31, 0x0C9D57, 0x03D929, 0x120310, 0x167810, 0x0016CB),
    *(0x1FD959, 0x1059CE, 0x175B26, 0x175D30, 0x1752A0, 0x105811, 0x1FCEA8),
)
_QUIET: Final = 4  # modules of margin that the standard asks for (ISO/IEC 18004)
_MODULE_PX: Final = 6


def decoder() -> Iterator[Check]:
    """Read the built-in code with zxing-cpp, as the camera's pictures are."""
    try:
        from drivers.qr import Reader  # noqa: PLC0415 - a missing library is a finding here

        reads = Reader(zbar=False).scan(_built_in_code())
    except ImportError as error:
        advice = "install the packages python3-zxing-cpp and python3-numpy"
        yield Check("decoder", Status.FAILED, str(error), advice=advice)
        return
    value = f"zxing-cpp {_version('zxing-cpp')}, {_second_decoder()}"
    if [read.payload for read in reads] != [DECODED]:
        advice = "reinstall python3-zxing-cpp: it is installed and does not read"
        yield Check("decoder", Status.FAILED, value, "the built-in code", advice)
        return
    yield Check("decoder", Status.OK, value, "the built-in code")


def _built_in_code() -> "NDArray[np.uint8]":
    import numpy as np  # noqa: PLC0415 - only this check needs it

    dark = np.array([[row >> (_SIDE - 1 - column) & 1 for column in range(_SIDE)] for row in _ROWS])
    picture = np.where(np.pad(dark, _QUIET) == 1, 0, 255).astype(np.uint8)
    return picture.repeat(_MODULE_PX, axis=0).repeat(_MODULE_PX, axis=1)


def _second_decoder() -> str:
    try:
        import pyzbar.pyzbar  # noqa: PLC0415, F401 - Debian has none; the gate does without
    except ImportError:
        return "no pyzbar (optional)"
    return f"pyzbar {_version('pyzbar')}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
