"""
OpenTelemetry's SDK with exporters that keep everything in memory.

Without the SDK the tests that import this are skipped, unless ``EDICTUM_OTEL_REQUIRED=1`` makes that an error, as the
nox sessions do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

try:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler
except ImportError:
    if os.environ.get("EDICTUM_OTEL_REQUIRED") == "1":
        raise
    pytest.skip("NO OPENTELEMETRY SDK: install edictum-core[otel] to run these tests", allow_module_level=True)

from edictum import Edictum, GovernanceTelemetry
from guards import guard_of


class Recorder:
    """
    Collects what a guard reports.

    Args:
        sampler: Decides which spans are kept; all by default.
        processors: Further span processors, asked before the recording one.
        **options: Options of :class:`GovernanceTelemetry`.
    """

    def __init__(self, *, sampler: Sampler | None = None, processors: Sequence[SpanProcessor] = (), **options: Any):
        self._exporter = InMemorySpanExporter()
        self.tracer_provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        for processor in processors:
            self.tracer_provider.add_span_processor(processor)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider(metric_readers=[self._reader], shutdown_on_exit=False)
        options = {"tracer_provider": self.tracer_provider, "meter_provider": self.meter_provider, **options}
        self.telemetry = GovernanceTelemetry(**options)

    @property
    def spans(self) -> list[ReadableSpan]:
        """
        All spans that ended, in the order of their ends.
        """
        return list(self._exporter.get_finished_spans())

    @property
    def tool_spans(self) -> list[ReadableSpan]:
        """
        The spans of calls.
        """
        return [span for span in self.spans if scope_of(span) == "edictum"]

    @property
    def tool_span(self) -> ReadableSpan:
        """
        The span of the only call.
        """
        (span,) = self.tool_spans
        return span

    @property
    def evaluations(self) -> list[ReadableSpan]:
        """
        The spans of decision-log events.
        """
        return [span for span in self.spans if scope_of(span) == "edictum.governance"]

    @property
    def metric_names(self) -> set[str]:
        """
        The names of all that was measured.
        """
        return {metric.name for metric in self._metrics()}

    def measured(self, name: str) -> dict[frozenset[tuple[str, Any]], Any]:
        """
        The points of a counter (value) or a histogram (count and sum), by their attributes.
        """
        found: dict[frozenset[tuple[str, Any]], Any] = {}
        for metric in self._metrics():
            for point in metric.data.data_points if metric.name == name else ():
                value = point.value if hasattr(point, "value") else (point.count, point.sum)
                found[frozenset((point.attributes or {}).items())] = value
        return found

    def _metrics(self) -> list[Any]:
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else ()
        return [metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics]

    def count(self, name: str, tool: str = "read") -> int:
        """
        The value of a counter for a tool.
        """
        return int(self.measured(name).get(frozenset({("tool.name", tool)}), 0))


def traced(*rules: dict[str, Any], recorder: Recorder | None = None, **options: Any) -> tuple[Edictum, Recorder]:
    """
    A guard with these rules and what it reports to.
    """
    recorder = recorder or Recorder()
    return guard_of(*rules, telemetry=recorder.telemetry, **options), recorder


def scope_of(span: ReadableSpan) -> str:
    """
    Name of the tracer that made a span.
    """
    assert span.instrumentation_scope is not None
    return span.instrumentation_scope.name


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """
    The attributes of a span.
    """
    found: Mapping[str, Any] = span.attributes or {}
    return dict(found)


def status(span: ReadableSpan) -> tuple[str, str | None]:
    """
    Status and description of a span.
    """
    return span.status.status_code.name, span.status.description


def parent_id(span: ReadableSpan) -> int | None:
    """
    Id of the parent of a span.
    """
    return span.parent.span_id if span.parent else None


def span_id(span: ReadableSpan) -> int:
    """
    Id of a span.
    """
    return int(span.context.span_id)


def shown_texts(recorder: Recorder) -> list[str]:
    """
    Every text that a recorder got: names, attributes, statuses, events.
    """
    texts: list[str] = []
    for span in recorder.spans:
        texts += [span.name, str(span.status.description)]
        texts += [str(item) for pair in attributes(span).items() for item in pair]
        texts += [str(dict(event.attributes or {})) for event in span.events]
    data = recorder._reader.get_metrics_data()
    return [*texts, data.to_json() if data else ""]
