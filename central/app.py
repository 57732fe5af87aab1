"""The composition root of `central run`: from a configuration to a centre at work."""

from __future__ import annotations

import contextlib
import logging
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

from central.absence import owed_ms
from central.alerts.dispatcher import Dispatcher
from central.clock import SystemClock
from central.config import Config, broker_settings
from central.enrolment.authority import CA_KEY, load_authority
from central.enrolment.book import EnrolmentBook
from central.enrolment.keeper import Keeper
from central.enrolment.service import EnrolmentService
from central.inbox import Inbox
from central.keys import load_keys
from central.metrics import Metrics
from central.notify import Liveness
from central.orders.courier import Courier
from central.people.retention import Retention
from central.receipts import Signer
from central.reports.worker import Reporter
from central.service import Centre
from central.store import Store, open_store
from central.subscriber import Subscriber
from central.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from central.config import MetricsSection, MqttSection
    from central.metrics import MetricsServer

SHARED_LEAVES: Final = ("ev/#", "sealed", "checkpoint")
"""Of centres that share a store each message of these goes to one. What is retained comes at a subscription
to a centre by itself only; gates sign a checkpoint every minute, so that nothing waits for it for long."""

_log = logging.getLogger(__name__)


def serve(config: Config) -> None:
    """Work until SIGTERM or SIGINT.

    Raises ConfigError, KeysError, StoreError or OSError before the work begins.
    """
    clock = SystemClock()
    keys = load_keys(config.centre.keys_dir)
    settings = broker_settings(config.mqtt)
    metrics = Metrics()
    with contextlib.ExitStack() as open_things:
        store = open_things.enter_context(open_store(config.centre.store))
        if (server := serve_metrics(config.metrics, metrics)) is not None:
            open_things.callback(server.close)
        liveness = Liveness(clock.monotonic)
        inbox = Inbox(clock.monotonic)
        subscriber = Subscriber(settings, topics(config.mqtt), inbox, monotonic=clock.monotonic)
        dispatcher = Dispatcher(store.engine, config.alerts, clock, config.reports.zone)
        reporter = Reporter(store, config.reports, keys.sign, clock)
        retention = Retention(store, config.retention, clock)
        courier = Courier(
            store,
            clock,
            publish=partial(subscriber.publish, retain=False, newest_only=False),
            connected=lambda: subscriber.status().connected,
        )
        centre = Centre(
            store,
            inbox,
            subscriber,
            Signer(keys.sign),
            Watch(config.watch, partial(owed_ms, config.reports)),
            clock,
            alone=not config.mqtt.shared,
            metrics=metrics,
            audience=[dispatcher],
            on_ready=courier.came_back,
            turn=liveness.turn,
        )
        start_enrolment(config, store, clock, open_things)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, lambda *_: centre.stop())
        for worker in (dispatcher, reporter, retention, courier):
            worker.start()
            open_things.callback(worker.stop)
        open_things.callback(liveness.stopping)
        centre.run()


def start_enrolment(
    config: Config, store: Store, clock: SystemClock, open_things: contextlib.ExitStack
) -> None:
    """Keep certificates and the list of revoked ones fresh, and give devices theirs where a port is set.

    Nothing where the centre has no authority and nobody is to enrol. A port that cannot be had is logged:
    records are taken in all the same. Raises KeysError.
    """
    folder, section = config.centre.keys_dir, config.enrolment
    if section.port is None and not (folder / CA_KEY).exists():
        return
    authority, book = load_authority(folder), EnrolmentBook(store.engine)
    keeper = Keeper(folder, authority, book, clock)
    if section.port is not None:
        try:
            service = EnrolmentService(section, folder, authority, book, clock)
        except OSError as error:
            where = f"{section.address}:{section.port}"
            _log.error(
                "no enrolment: cannot listen at %s (%s); see [enrolment]", where, error.strerror or error
            )
        else:
            open_things.callback(service.close)
            keeper.on_renewed = service.reload
    keeper.start()
    open_things.callback(keeper.stop)


def serve_metrics(section: MetricsSection, metrics: Metrics) -> MetricsServer | None:
    """Answer Prometheus from now on, until the result is closed.

    None where nobody is to ask, or nobody can, which is logged: records are taken in all the same.
    """
    if section.port is None:
        return None
    try:
        return metrics.serve(section.port, section.address)
    except OSError as error:
        where = f"{section.address}:{section.port}"
        _log.error("no metrics: cannot listen at %s (%s); see [metrics]", where, error.strerror or error)
        return None


def topics(mqtt: MqttSection) -> Sequence[str]:
    """Return what the centre subscribes to."""
    share = f"$share/{mqtt.group}/" if mqtt.shared else ""
    return (*(f"{share}hg/1/+/+/{leaf}" for leaf in SHARED_LEAVES), "hg/1/+/+/state")
