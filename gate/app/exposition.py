"""The figures of a gate over HTTP, in the text format of Prometheus; only this module needs its library."""

import logging
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from itertools import accumulate
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from gate.app.metrics import RELAY, RELAY_BUCKETS_S, GateMetrics, Metric, Spread, Type

log = logging.getLogger(__name__)

PATHS: Final = frozenset({"/", "/metrics"})
PATIENCE_S: Final = 2.0
STOP_S: Final = 5.0


class MetricsServer:
    """Answers whoever asks for the figures, one after the other, in the thread `metrics`. Raises OSError.

    Who asks slowly holds up the next one who asks, for `PATIENCE_S` of silence at most, and never the gate.
    """

    def __init__(self, metrics: GateMetrics, port: int, address: str) -> None:
        registry = CollectorRegistry()
        registry.register(_Figures(metrics))
        server = _Server6 if ":" in address else _Server
        self._server = server((address, port), registry)
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port in use; the given one unless that was 0."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(STOP_S)


class _Figures(Collector):
    """A snapshot in the words of the library."""

    def __init__(self, metrics: GateMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        snapshot = self._metrics.snapshot()
        for metric, series in snapshot.series.items():
            if metric is RELAY:
                yield _histogram(metric, snapshot.relay)
                continue
            family = _FAMILIES[metric.type](metric.name, metric.words, labels=metric.labels)
            for labels, value in series.items():
                family.add_metric(labels, value)
            yield family


_FAMILIES: Final = {Type.COUNTER: CounterMetricFamily, Type.GAUGE: GaugeMetricFamily}


def _histogram(metric: Metric, spread: Spread) -> HistogramMetricFamily:
    limits = (*map(str, RELAY_BUCKETS_S), "+Inf")
    family = HistogramMetricFamily(metric.name, metric.words)
    family.add_metric((), list(zip(limits, accumulate(spread.counts), strict=True)), spread.sum_s)
    return family


class _Server(socketserver.TCPServer):
    allow_reuse_address = True

    def __init__(self, place: tuple[str, int], registry: CollectorRegistry) -> None:
        self.registry = registry
        super().__init__(place, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - as declared
        """Go on: who asked has hung up, or asked something that nobody can answer."""
        if not isinstance(sys.exc_info()[1], OSError):
            log.exception("a question for metrics could not be answered")


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        """Answer with all figures."""
        if self.path.partition("?")[0] not in PATHS:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        body = generate_latest(cast("_Server", self.server).registry)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as declared
        """Say nothing: somebody asks every few seconds."""
