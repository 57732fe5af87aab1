"""The verify services of the simulated regions: some answer at once, some late, some never."""

import random
from collections import Counter
from typing import Final

from gate.core.codes import Status, Travel
from gate.core.codes.service import Outcome, ServiceAnswer
from gate.sim.cards import Card, Said

_AFTER_S: Final = {
    Said.GREEN: (0.05, 2.0),
    Said.RED: (0.05, 2.0),
    Said.SLOW: (5.0, 60.0),
    Said.UNREACHED: (0.5, 3.0),
}


class SimService:
    """Answers about the tokens that people hold; `asked` counts the questions by how it dealt with them."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"{seed}/service")  # noqa: S311 - chance to be repeated, not a secret
        self._known: dict[bytes, Card] = {}
        self.asked: Counter[str] = Counter()

    def know(self, card: Card) -> None:
        """Learn of a token."""
        self._known[card.payload] = card

    def ask(self, token: bytes) -> tuple[float, ServiceAnswer] | None:
        """Return after how many seconds the answer comes, and which; None where none ever does."""
        card = self._known[token]
        assert card.said is not None
        self.asked[str(card.said)] += 1
        if card.said is Said.NEVER:
            return None
        return self._rng.uniform(*_AFTER_S[card.said]), self._answer(card)

    def _answer(self, card: Card) -> ServiceAnswer:
        if card.said is Said.UNREACHED:
            return ServiceAnswer(self._rng.choice((Outcome.TIMEOUT, Outcome.UNREACHABLE, Outcome.ERROR)))
        # Whoever answers late may say anything.
        red = card.said is Said.RED or (card.said is Said.SLOW and self._rng.random() < 0.3)
        status = Status.RED if red else Status.GREEN
        fields = frozenset({"name", "phone"})
        return ServiceAnswer(Outcome.ANSWERED, status, Travel.CLEAR, card.subject, registered=fields)
