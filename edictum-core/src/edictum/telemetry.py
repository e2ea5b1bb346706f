"""
What edictum reports through OpenTelemetry: options, tracers and instruments.

Spans and measurements are made of decision-log events, which are redacted already, so nothing else of a call can get
into them.  The span of a call is in :mod:`edictum.tool_span`, where it begins and ends in :mod:`edictum.traced_call`.

INVARIANT: no failure of telemetry reaches a caller or changes a decision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from edictum.errors import EdictumConfigError
from edictum.otel import Api, Providers, api, installed, meter_of, tracer_of

if TYPE_CHECKING:
    from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider
    from opentelemetry.trace import Tracer, TracerProvider

    from edictum.guard import Edictum

logger = logging.getLogger(__name__)

TelemetryOption: TypeAlias = "GovernanceTelemetry | Literal[False] | None"

MAX_TOOLS = 1_000
"""So many tool names are told apart in measurements; a model can invent names without end."""
OTHER_TOOLS = "_OTHER"

# Milliseconds.  The usual steps begin at 5, where nearly every decision is over.
_EVALUATION_STEPS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000)
_WAITING_STEPS = (100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000)


class Instruments(NamedTuple):
    """
    What is measured; the names are a published format.
    """

    allowed: Counter
    denied: Counter
    would_deny: Counter
    policy_errors: Counter
    adapter_exceptions: Counter
    evaluation: Histogram
    waits: Histogram


class GovernanceTelemetry:
    """
    How a guard reports to OpenTelemetry; give it to guards as ``telemetry``.

    Only needed to choose something: a guard without it reports to the providers of the process, if it has any.  One
    object may serve many guards, threads and event loops.  Without OpenTelemetry it does nothing.

    Args:
        span_names: Names of the spans of calls: ``edictum`` gives ``tool.execute <tool>``, ``genai`` gives the
            ``execute_tool <tool>`` of OpenTelemetry's conventions.  The attributes of both are always there.
        capture_args: Put the arguments on spans, redacted as in the decision log and cut at 4 KB.
        tracer_provider: Makes the spans; None takes that of the process.
        meter_provider: Measures; None takes that of the process.

    Attributes:
        failures: How often OpenTelemetry raised an error; the first one is logged as a warning.

    Raises:
        EdictumConfigError: ``span_names`` is unknown.
    """

    def __init__(
        self,
        *,
        span_names: Literal["edictum", "genai"] = "edictum",
        capture_args: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if span_names not in ("edictum", "genai"):
            raise EdictumConfigError(f"span_names is 'edictum' or 'genai', not {span_names!r}")
        self.failures = 0
        self._prefix = "tool.execute" if span_names == "edictum" else "execute_tool"
        self._capture_args = capture_args
        self._labels: dict[str, Mapping[str, str]] = {}
        self._connected = False
        try:
            self._api: Api = api()
            self._tracer: Tracer = tracer_of(tracer_provider, "edictum")
            self._evaluations: Tracer = tracer_of(tracer_provider, "edictum.governance")
            self._instruments = _make_instruments(meter_of(meter_provider))
        except ImportError:
            return  # not installed
        except Exception as error:
            self._failed(error)
            return
        self._connected = True

    def _span_name(self, tool: str) -> str:
        return f"{self._prefix} {tool}"

    def _label(self, tool: str) -> Mapping[str, str]:
        """
        The attributes of a measurement about a tool.
        """
        label = self._labels.get(tool)
        if label is None:
            if len(self._labels) >= MAX_TOOLS:
                return {"tool.name": OTHER_TOOLS}
            label = self._labels[tool] = {"tool.name": tool}
        return label

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        level = logging.WARNING if self.failures == 1 else logging.DEBUG
        logger.log(level, "telemetry failed; the call goes on without it", exc_info=error)

    def _adapter_exception(self, tool: str, mode: str, kind: str) -> None:
        attributes = {"governance.adapter_exception": kind, "governance.mode": mode, "tool.name": tool}
        span = self._tracer.start_span("edictum.adapter.internal_exception", attributes=attributes)
        span.set_status(self._api.trace.StatusCode.ERROR, kind)
        span.end()
        self._instruments.adapter_exceptions.add(1, {**self._label(tool), "governance.mode": mode})


def report_adapter_exception(guard: Edictum, tool_name: str, error: BaseException) -> None:
    """
    Report that the code of an adapter failed around a call; for authors of adapters.

    Args:
        guard: The adapter's guard; its ``telemetry`` says where to.
        tool_name: The tool of the call.
        error: What the adapter's own code raised; only its type is sent.
    """
    telemetry = telemetry_in_use(guard._telemetry)
    if telemetry is None:
        return
    try:
        tool = sound(guard._decision_log.text(tool_name))
        telemetry._adapter_exception(tool, guard.mode, type(error).__name__)
    except Exception as failure:
        telemetry._failed(failure)


def telemetry_in_use(option: TelemetryOption) -> GovernanceTelemetry | None:
    """
    What a guard with this option reports to now, or None.

    Providers may be installed at any time, so None is looked up for every call.

    Args:
        option: ``telemetry`` of the guard.
    """
    global _of_process
    if option is None:
        try:
            providers = installed()
        except Exception:
            logger.debug("OpenTelemetry cannot be used", exc_info=True)
            return None
        if providers == (None, None):
            return None
        known = _of_process
        if known is None or known[0] != providers:
            _of_process = known = (providers, GovernanceTelemetry())
        option = known[1]
    return option if option and option._connected else None


_of_process: tuple[Providers, GovernanceTelemetry] | None = None


def sound(value: object) -> str:
    """
    The text of a value without lone surrogates: one of them would cost a whole batch of spans.
    """
    text = str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _make_instruments(meter: Meter) -> Instruments:
    def counter(name: str, unit: str, what: str) -> Any:
        return meter.create_counter(name, unit, what)

    def histogram(name: str, what: str, steps: tuple[float, ...]) -> Any:
        return meter.create_histogram(name, "ms", what, explicit_bucket_boundaries_advisory=steps)

    return Instruments(
        allowed=counter("edictum.calls.allowed", "{call}", "Calls whose tool was allowed to run"),
        denied=counter("edictum.calls.denied", "{call}", "Calls that were blocked"),
        would_deny=counter("edictum.calls.would_deny", "{call}", "Calls that something in observe mode would block"),
        policy_errors=counter("edictum.policy_errors", "{call}", "Calls about which something could not be judged"),
        adapter_exceptions=counter("edictum.adapter.internal_exception", "{error}", "Faults of adapters"),
        evaluation=histogram("edictum.evaluation.duration", "Time to decide, without people", _EVALUATION_STEPS),
        waits=histogram("edictum.approvals.wait", "Time that people took to answer", _WAITING_STEPS),
    )
