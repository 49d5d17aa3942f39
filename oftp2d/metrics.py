"""Numbers for monitoring, in the text format of Prometheus; read when they are asked for, and kept nowhere.

Whoever has numbers adds a source. It is asked in the database worker, each time anew. prometheus_client is loaded with the
first question: most stations are never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A number, or one for each of several things told apart by their labels."""

    name: str
    """With its unit at the end, in the words of Prometheus: ``oftp2d_certificate_days_to_expiry``."""
    help: str
    labels: tuple[str, ...] = ()
    values: Mapping[tuple[str, ...], float] = field(default_factory=dict)
    """By the values of the labels; ``()`` where there are none."""


Source = Callable[[datetime], Iterable[Gauge]]
"""Blocks, and is called in the database worker."""


class Metrics:
    """The numbers of the whole station."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Ask this source, too."""
        self._sources.append(source)

    def text(self, now: datetime) -> bytes:
        """All numbers as they are now; blocks."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Read([gauge for source in self._sources for gauge in source(now)]))
        return generate_latest(registry)


class _Read:
    """What was read, as a collector."""

    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415

        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, value in gauge.values.items():
                family.add_metric(labels, value)
            yield family
