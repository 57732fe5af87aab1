"""Asks the verify service of a region about a token, and always has an answer."""

import hmac
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gate.core.codes.service import Outcome, ServiceAnswer
from gate.services.breaker import CircuitBreaker
from gate.services.https import HttpsError, HttpsPost
from gate.services.messages import question, read_answer
from gate.services.settings import ServiceSettings


class ServiceSetupError(ValueError):
    """Services that cannot be asked because their files cannot be used; `problems` has one line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True, slots=True)
class _Service:
    settings: ServiceSettings
    secret: bytes = field(repr=False)
    https: HttpsPost
    breaker: CircuitBreaker
    pseudonym_key: bytes = field(repr=False)


class HealthCodeService:
    """The verify services of all configured regions; one question at a time.

    `site_key` (at least 16 bytes, secret) makes pseudonyms of the persons that services name; each region has
    its own, so that equal numbers of two issuers do not make one person. `now_ms` is wall time in unix
    milliseconds. Raises ServiceSetupError with every file that cannot be used.
    """

    def __init__(
        self,
        services: Iterable[ServiceSettings],
        *,
        site_key: bytes,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        if len(site_key) < 16:
            raise ValueError("site_key: at least 16 bytes")
        self._now_ms = now_ms
        self._new_id = new_id
        problems: list[str] = []
        opened = [_open(settings, site_key, monotonic, problems) for settings in services]
        if problems:
            raise ServiceSetupError(problems)
        self._services = {service.settings.region: service for service in opened if service}

    @property
    def regions(self) -> frozenset[str]:
        """The regions that can be asked; a token of any other cannot be checked here."""
        return frozenset(self._services)

    def ask(self, token: bytes, region: str) -> ServiceAnswer:
        """Ask about one token; blocks for at most the service's `timeout_s` and never raises.

        Problems and errors never show the token, the secret or the person.
        """
        service = self._services.get(region)
        if service is None:
            return _unasked(Outcome.UNREACHABLE, f"no verify service is configured for {region}")
        if not service.breaker.permits():
            return _unasked(Outcome.UNREACHABLE, f"{region}: left alone for a while after failures")
        try:
            text = token.decode("utf-8")
        except UnicodeDecodeError:
            return _unasked(Outcome.ERROR, f"{region}: a service takes texts only")
        return self._ask(service, text)

    def _ask(self, service: _Service, token: str) -> ServiceAnswer:
        form, region = service.settings.request, service.settings.region
        body = question(form, service.secret, token=token, request_id=self._new_id(), unix_ms=self._now_ms())
        try:
            answer = read_answer(service.settings.answer, service.https.post(body), service.pseudonym_key)
        except HttpsError as error:
            # A question that is at fault says nothing of the service: strangers must not switch it off.
            (service.breaker.failed if error.ailing else service.breaker.succeeded)()
            return _unasked(error.outcome, f"{region}: {error}")
        except (ValueError, RecursionError):  # what a decoder says of a text repeats the text: it is not kept
            service.breaker.failed()
            return _unasked(Outcome.ERROR, f"{region}: the answer is not the JSON object that it should be")
        service.breaker.succeeded()
        return answer


def _unasked(outcome: Outcome, problem: str) -> ServiceAnswer:
    return ServiceAnswer(outcome, problems=(problem,))


def _open(
    settings: ServiceSettings, site_key: bytes, monotonic: Callable[[], float], problems: list[str]
) -> _Service | None:
    secret = _read_secret(settings, problems)
    try:
        https = HttpsPost(
            settings.url,
            ca_file=settings.ca_file,
            timeout_s=settings.timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
        )
    except OSError as error:
        problems.append(
            f"{settings.region}: ca_file {settings.ca_file} cannot be used: {error.strerror or error}"
        )
        return None
    return _Service(
        settings,
        secret,
        https,
        CircuitBreaker(failures_max=settings.failures_max, pause_s=settings.pause_s, monotonic=monotonic),
        hmac.digest(site_key, f"health-code-subject:{settings.region}".encode(), "sha256"),
    )


def _read_secret(settings: ServiceSettings, problems: list[str]) -> bytes:
    path: Path = settings.secret_file
    try:
        secret = path.read_bytes().strip()
    except (OSError, ValueError) as error:
        problems.append(f"{settings.region}: secret_file {path} cannot be read: {error}")
        return b""
    if not secret:
        problems.append(f"{settings.region}: secret_file {path} is empty")
    return secret
