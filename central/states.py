"""What the gates say of themselves in their state messages, kept for `central status`.

Nobody has signed a state message: whoever may write in its topic may write anything. So it proves nothing and
excuses nothing; it shows what a gate cannot put on record, above all that it is in `fault` because its ledger
cannot be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, or_, select, update

from central.store.engine import reading, writing
from central.store.streams import insert_new
from central.store.tables import gate_states

Names = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Said:
    """The words `state` and `mode` ("" when it said none), and since when (unix milliseconds)."""

    state: str
    mode: str
    since_ms: int


class GateStates:
    """Keeps what was said last. Several centres may keep the same: the first to hear it gives the time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: dict[Names, tuple[str, str]] = {}

    def keep(self, said: Mapping[Names, tuple[str, str]], now_ms: int) -> None:
        """Keep the state and mode of these gates where they are news. StoreError."""
        news = {names: words for names, words in sorted(said.items()) if self._kept.get(names) != words}
        if not news:
            return
        with writing(self._engine) as connection:
            for (site, gate), (state, mode) in news.items():
                words = {"state": state, "mode": mode, "since_ms": now_ms}
                insert_new(connection, gate_states, [{"site": site, "gate": gate, **words}])
                other = or_(gate_states.c.state != state, gate_states.c.mode != mode)
                same_gate = (gate_states.c.site == site, gate_states.c.gate == gate)
                connection.execute(update(gate_states).where(*same_gate, other).values(words))
        self._kept |= news


def read_states(engine: Engine) -> dict[Names, Said]:
    """Return what each gate said last. StoreError."""
    with reading(engine) as connection:
        rows = connection.execute(select(gate_states)).all()
    return {(row.site, row.gate): Said(row.state, row.mode, row.since_ms) for row in rows}
