"""What has to be made anew in time: the list of revoked certificates, and the centre's own certificates."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from central.clock import Clock
from central.enrolment.authority import CRL_FILE, Authority, made_at, moment
from central.enrolment.book import EnrolmentBook
from central.enrolment.own_certificates import renew, replace_public
from central.keys import KeysError
from central.worker import Worker

LOG: Final = logging.getLogger(__name__)
ROUND_S: Final = 10.0
TROUBLE_S: Final = 60.0
FAREWELL_S: Final = 10.0
_CRL_AGE_MAX: Final = timedelta(days=1)


def write_crl(folder: Path, authority: Authority, book: EnrolmentBook, now_ms: int) -> bool:
    """Write the list when it says other than the store, or is a day old; False when it is good.

    Raises StoreError and KeysError.
    """
    revoked = sorted(book.revoked(now_ms))
    if _says(folder / CRL_FILE, authority, [number for number, _ in revoked], now_ms):
        return False
    replace_public(folder / CRL_FILE, authority.revocation_list(revoked, now_ms))
    return True


def _says(path: Path, authority: Authority, numbers: list[int], now_ms: int) -> bool:
    """Tell whether the list in a file is ours, is recent, and names just these."""
    try:
        here = x509.load_pem_x509_crl(path.read_bytes())
        if not here.is_signature_valid(authority.key.public_key()):
            return False
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    age = moment(now_ms) - made_at(here)
    recent = timedelta(minutes=-5) <= age < _CRL_AGE_MAX
    return recent and sorted(entry.serial_number for entry in here) == numbers


class Keeper(Worker):
    """Looks every few seconds; `on_renewed` is told when certificates of the centre's own are new."""

    def __init__(self, folder: Path, authority: Authority, book: EnrolmentBook, clock: Clock) -> None:
        super().__init__("enrolment", clock, round_s=ROUND_S, trouble_s=TROUBLE_S, farewell_s=FAREWELL_S)
        self.on_renewed: Callable[[], None] = lambda: None
        self._folder = folder
        self._authority = authority
        self._book = book

    def step(self) -> None:
        """Write what is due. Raises StoreError."""
        now_ms = self._clock.now_ms()
        try:
            if write_crl(self._folder, self._authority, self._book, now_ms):
                LOG.info("wrote %s; the broker has to read it again", self._folder / CRL_FILE)
            if names := renew(self._folder, self._authority, now_ms):
                LOG.info("renewed certificates: %s", ", ".join(names))
                self.on_renewed()
        except KeysError as error:
            LOG.error("%s", error)
