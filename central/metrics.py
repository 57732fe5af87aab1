"""What Prometheus can ask the centre about. The names below are the interface; each is explained there."""

from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from central.store import Alarm, AlarmKind

GATE_STATES: Final = ("ready", "disconnected", "lost", "unknown")
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """The figures of one centre, in a registry of their own. `serve` makes them readable over HTTP."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = self._counter("records", "Records stored that were not known yet.")
        self.duplicates = self._counter("duplicates", "Records that came again.")
        self.rejects = self._counter("rejects", "Messages that are no records, or of another gate.")
        self.conflicts = self._counter("conflicts", "Records that came with other bytes than before.")
        self.checkpoints = self._counter("checkpoints", "Checkpoints that were believed.")
        self.receipts = self._counter("receipts", "Receipts signed, those that ask included.")
        self.strays = self._counter("strays", "Messages that nobody knows what to do with.")
        self.poison = self._counter("poison", "Messages dropped for an error of the program.")
        self.store_failures = self._counter("store_failures", "Attempts to use the store that failed.")
        self.commit_s = self._histogram("commit_seconds", "One batch, from beginning to commit.")
        self.lag_s = self._histogram("ingest_lag_seconds", "A batch's oldest message, arrival to commit.")
        self.connected = Gauge("central_connected", "1 while listening to a broker.", registry=self.registry)
        self._alarms = Gauge(
            "central_alarms_standing", "Alarms that stand, by kind.", ["kind"], registry=self.registry
        )
        self._gates = Gauge("central_gates", "Registered gates, by state.", ["state"], registry=self.registry)

    def alarms_stand(self, alarms: Iterable[Alarm]) -> None:
        """Show how many alarms stand."""
        tally = Tally(alarm.about.kind for alarm in alarms)
        for kind in AlarmKind:
            self._alarms.labels(kind).set(tally[kind])

    def gates_are(self, states: Iterable[str]) -> None:
        """Show how many gates are in which state."""
        tally = Tally(states)
        for state in GATE_STATES:
            self._gates.labels(state).set(tally[state])

    def serve(self, port: int, address: str) -> "MetricsServer":
        """Answer Prometheus at this address until closed. Raises OSError."""
        return MetricsServer(self.registry, port, address)

    def _counter(self, name: str, words: str) -> Counter:
        return Counter(f"central_{name}", words, registry=self.registry)

    def _histogram(self, name: str, words: str) -> Histogram:
        return Histogram(f"central_{name}", words, buckets=_SECONDS, registry=self.registry)


class MetricsServer:
    """The HTTP server behind `metrics.port`, in a thread of its own."""

    def __init__(self, registry: CollectorRegistry, port: int, address: str) -> None:
        self._server, self._thread = start_http_server(port, address, registry)
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
