"""Runs the demo: the real application on simulated hardware, and the world around it.

That world is a broker, a witness, a city's verify service, a centre that signs for records, and the script.
"""

import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count as count_from
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from gate.app.application import Application, StateFolderError, claim
from gate.app.records import LEDGER_NAME
from gate.app.simulated import SCENE_NAME, SimulatedGate, without_hardware
from gate.config import CameraSection, CodesSection, Config, GateSection, MqttSection, load_policy
from gate.core.effects import Effect
from gate.core.inputs import Input
from gate.core.moment import Moment
from gate.demo.broker import HOST, BrokerAddress, DemoBroker
from gate.demo.centre import FOLDER as CENTRE_FOLDER
from gate.demo.centre import DemoCentre, there_is_a_centre
from gate.demo.city import City, settings
from gate.demo.health_service import StandInHealthService
from gate.demo.narrator import Narrator
from gate.demo.passes import Issuer
from gate.demo.script import Play, visitors
from gate.demo.stage import Stage
from gate.demo.witness import Witness, results, visits_complete
from gate.demo.words import SUMMARY, WORDS
from gate.shell.clock import SystemClock, sleep
from gate.shell.desk import SOCKET_NAME
from gate.store.ledger import LedgerError, Verification, owner, verify

SITE: Final = "demo-hall"
GATE: Final = "gate-1"
DELIVERY_S: Final = 20.0
SETTLE_S: Final = 10.0
ASK_AGAIN_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a demo went: `results` how many visits ended how, `asked` how often the verify service was.

    `proved`: how many records the centre has proved and signed for, None where no centre is installed.
    """

    visits: int
    witnessed: int
    events: int
    results: Mapping[str, int]
    asked: int
    proved: int | None
    problems: tuple[str, ...]
    ledger: Path
    verification: Verification

    @property
    def ok(self) -> bool:
        """True when every visit, both stages, has reached the witness, and every record the centre."""
        arrived = self.proved is None or self.proved == self.verification.records
        return self.witnessed == self.visits and arrived and not self.problems and self.verification.ok


def run_morning(
    *,
    count: int,
    seed: int,
    lang: str,
    headless: bool,
    state: Path,
    events_file: Path | None,
    address: BrokerAddress | None,
    with_centre: bool = False,
) -> bool:
    """Play `count` visitors, tell about it, and return whether everything reached the witness and the centre.

    `with_centre` shows how the gate stands at the centre after each visitor. A ledger and a centre's store of
    an earlier run in `state` are put aside, never overwritten. Raises StageError when the gate does something
    else than the script expects, BrokerError when the broker cannot be used, CentreError when the centre does
    not start, StateFolderError when the folder cannot be used, OSError when `events_file` cannot be written.
    """
    with claim(state):  # or the ledger of a gate that is running would be put aside
        _put_aside(state)
    if events_file is not None:
        events_file.write_bytes(b"")  # better now than after the morning
    console = Console(quiet=headless, highlight=False)
    config = _config(state, lang)
    witness = Witness(f"hg/1/{config.gate.site}/{config.gate.id}/ev/#")
    with ExitStack() as stack:
        address = address or stack.enter_context(DemoBroker(state)).address
        witness.start(address)
        stack.callback(witness.stop)
        service = stack.enter_context(_health_service(state))
        codes = CodesSection(services=(settings(service),))
        config = replace(config, mqtt=_mqtt(state, address), codes=codes)
        centre = stack.enter_context(_centre(config, address)) if there_is_a_centre() else None
        config = replace(config, centre=centre.section if centre else None)
        try:
            shown = centre if with_centre and not headless else None
            _play(config, service, count, seed, console, shown)
            checked = verify(state / LEDGER_NAME)
            witness.wait_for(checked.records, DELIVERY_S)
            proved = _wait_for_proof(centre, checked.records) if centre else None
            tampered = centre.verified() if centre else ""
        finally:
            if events_file is not None:
                events_file.write_bytes(b"".join(body + b"\n" for body in witness.bodies))
    outcome = Outcome(
        visits=count,
        witnessed=len(visits_complete(witness.events())),
        events=len(witness.bodies),
        results=results(witness.events()),
        asked=service.asked,
        proved=proved,
        problems=(*witness.problems, *([tampered] if tampered else ())),
        ledger=state / LEDGER_NAME,
        verification=checked,
    )
    print_outcome(outcome, lang, console)
    if headless:
        print(summary(outcome))  # noqa: T201 - the one line of a headless run
    return outcome.ok


def _play(
    config: Config,
    service: StandInHealthService,
    count: int,
    seed: int,
    console: Console,
    shown: DemoCentre | None,
) -> None:
    """Have the visitors come; `shown`: the centre whose table is to be shown after each of them."""
    rng = random.Random(seed)  # noqa: S311 - a draw of visitors, not a secret
    stage = Stage()
    clock = SystemClock(lambda: True)
    gate = SimulatedGate(config, seed)
    issuer = Issuer(config.gate.site, rng, clock.now().wall_s)
    policy = load_policy(config.gate.policy)
    narrator = Narrator(config.gate.lang, console, policy)

    def observe(happened: Input, effect: Effect | None, now: Moment) -> None:
        narrator.observe(happened, effect, now)
        stage.observe(happened, effect, now)

    app = Application(config, policy, issuer.trust(), gate.world(observe, clock))
    brain = threading.Thread(target=app.run, name="brain")
    narrator.start()
    brain.start()
    try:
        desk = config.gate.state_dir / SOCKET_NAME
        play = Play(gate, stage, desk, issuer, City(service, rng, clock), rng)
        for number, scene in enumerate(visitors(count, seed), 1):
            narrator.announce(number, scene.zh if config.gate.lang == "zh" else scene.en)
            play.perform(scene)
            if shown is not None:
                _show(shown, app, narrator)
            elif config.centre is not None:
                _tell_receipts(app, narrator)
        if config.centre is not None:  # it may have come up after the last visitor
            _until(lambda: _tell_receipts(app, narrator), DELIVERY_S)
        narrator.close()
    finally:
        app.stop()
        brain.join()
        narrator.stop()


def _centre(config: Config, address: BrokerAddress) -> DemoCentre:
    assert config.mqtt.password_file is not None
    gate = config.gate
    return DemoCentre(gate.state_dir, gate.site, gate.id, address, config.mqtt.password_file)


def _wait_for_proof(centre: DemoCentre, records: int) -> int:
    """Wait until the centre has proved so many records, and return how many it has."""
    proved = 0

    def enough() -> bool:
        nonlocal proved
        proved = centre.proved()
        return proved >= records

    _until(enough, DELIVERY_S)
    return proved


def _tell_receipts(app: Application, narrator: Narrator) -> bool:
    """Tell up to where the centre has signed; return whether that is all there is."""
    status = app.sink.status()
    narrator.receipt(status.acknowledged, status.head)
    return status.acknowledged == status.head


def _show(centre: DemoCentre, app: Application, narrator: Narrator) -> None:
    """Show the gate as the centre has it, once each knows what the other has: the table says what was told.

    What the gate has receipts for the centre learns from the next checkpoint, which is asked for here.
    """
    _until(lambda: _tell_receipts(app, narrator), SETTLE_S)
    told = app.sink.status().acknowledged
    app.sink.make_checkpoint()
    _until(lambda: centre.receipted() >= told, SETTLE_S)
    narrator.show(centre.table())


def _until(holds: Callable[[], bool], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    while not holds() and time.monotonic() < deadline:
        sleep(ASK_AGAIN_S)


def _health_service(state: Path) -> StandInHealthService:
    folder = state / "health-service"
    folder.mkdir(exist_ok=True)
    return StandInHealthService(folder, secrets.token_hex(16), {})


def _config(state: Path, lang: str) -> Config:
    config = Config(
        gate=GateSection(
            site=SITE,
            id=GATE,
            policy="county-hall",
            lang="zh" if lang == "zh" else "en",
            state_dir=state,
            clock="always_trusted",
        ),
        mqtt=MqttSection(host=HOST),
        camera=CameraSection(source="synthetic", path=state / SCENE_NAME),
    )
    return without_hardware(config, state)


def _mqtt(state: Path, address: BrokerAddress) -> MqttSection:
    secret = state / "broker-password"
    secret.touch(mode=0o600)
    secret.write_text(address.password or "", "utf-8")
    return MqttSection(
        host=address.host,
        port=address.port,
        username=address.user,
        password_file=secret,
        protocol="3.1.1",  # the built-in broker never answers a client that speaks 5
    )


def _put_aside(state: Path) -> None:
    if not (state / LEDGER_NAME).exists():
        return
    with suppress(LedgerError):  # a damaged one is kept like any other
        if owner(state / LEDGER_NAME) != (SITE, GATE):
            raise StateFolderError(
                f"{state} holds the ledger of another gate; name another folder with --state"
            )
    number = next(n for n in count_from(1) if not (state / f"ledger-{n}.db").exists())
    names = {f"{LEDGER_NAME}{suffix}": f"ledger-{number}.db{suffix}" for suffix in ("", "-wal", "-shm")}
    # The centre's store goes with the ledger: to it, a new ledger without a reason is something to report.
    for name, aside in {**names, CENTRE_FOLDER: f"{CENTRE_FOLDER}-{number}"}.items():
        if (state / name).exists():
            (state / name).rename(state / aside)


def summary(outcome: Outcome) -> str:
    """Return the outcome as one JSON line."""
    return json.dumps(
        {
            "visits": outcome.visits,
            "witnessed": outcome.witnessed,
            "events": outcome.events,
            "records": outcome.verification.records,
            "proved": outcome.proved,
            "ok": outcome.ok,
            "problems": list(outcome.problems),
            "ledger": str(outcome.ledger),
        }
    )


def print_outcome(outcome: Outcome, lang: str, console: Console) -> None:
    """Tell how it went: visits, events, where the ledger lies and how to check it."""
    words = SUMMARY[lang]
    console.print(Text(f"\n{words['title']}", style="bold"))
    facts = {"visits": outcome.visits, "witnessed": outcome.witnessed, "events": outcome.events}
    console.print(f"  {words['visits'].format(**facts)}")
    ended = words["results"].format(results=_ended(outcome, lang), asked=outcome.asked)
    console.print(f"  {ended}", soft_wrap=True)
    signed = words["no_centre"] if outcome.proved is None else words["signed"].format(proved=outcome.proved)
    console.print(f"  {signed}", soft_wrap=True)
    for problem in outcome.problems:
        console.print(Text(f"  {problem}", style="red"))
    console.print(
        f"  {words['ledger'].format(records=outcome.verification.records, path=outcome.ledger)}",
        soft_wrap=True,
    )
    console.print(f"  {words['check']}  gate ledger verify {outcome.ledger}", soft_wrap=True)
    verdict, style = (words["good"], "bold green") if outcome.ok else (words["bad"], "bold red")
    console.print(Text(f"  {verdict}", style=style))


def _ended(outcome: Outcome, lang: str) -> str:
    one, told = SUMMARY[lang]["result"], WORDS[lang]
    words = (one.format(word=told.get(word, word), number=number) for word, number in outcome.results.items())
    return told["comma"].join(words)
