"""
OpenTelemetry in this process: whether it is there, setting it up, tracers.

The only module that imports OpenTelemetry (the ``otel`` extra), and only inside functions: a process that does not use
it pays nothing.  What edictum reports by it stands in :mod:`edictum.telemetry`.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, cast

from edictum.errors import EdictumConfigError

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import Tracer, TracerProvider

    F = TypeVar("F", bound=Callable[..., object])

logger = logging.getLogger(__name__)

DEFAULT_ENDPOINT = "http://localhost:4317"
DEFAULT_HTTP_ENDPOINT = "http://localhost:4318"
EXIT_SECONDS = 5.0
"""So long the process may wait at its end for what is not sent yet."""
INSTALL = 'pip install "edictum-core[otel]"'

_PROTOCOLS = ("grpc", "http", "http/protobuf")
_EXPORTERS = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
}


class Providers(NamedTuple):
    """
    Where spans and measurements go.

    Attributes:
        tracer: Gives tracers; None when there is none.
        meter: Gives meters; None when there is none.
    """

    tracer: TracerProvider | None
    meter: MeterProvider | None


class Api(NamedTuple):
    """
    The modules of the OpenTelemetry API that telemetry needs.
    """

    context: Any
    metrics: Any
    trace: Any


_lock = threading.Lock()
_own: Providers | None = None  # set by force beside those that the application has installed


def has_otel() -> bool:
    """
    Whether the OpenTelemetry SDK is installed.  Imports none of its code.
    """
    try:
        return find_spec("opentelemetry.sdk") is not None
    except (ImportError, ValueError):
        return False


def configure_otel(
    *,
    service_name: str = "edictum-agent",
    endpoint: str = DEFAULT_ENDPOINT,
    protocol: str = "grpc",
    resource_attributes: Mapping[str, str] | None = None,
    edictum_version: str | None = None,
    force: bool = False,
    insecure: bool = True,
) -> bool:
    """
    Make the process send spans and metrics to an OTLP collector, in the background.

    Does nothing when the application has installed a tracer provider already: then everything goes there.  What the
    environment says in OpenTelemetry's own variables wins over the arguments: ``OTEL_SERVICE_NAME``,
    ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_EXPORTER_OTLP_PROTOCOL`` and
    ``OTEL_EXPORTER_OTLP_INSECURE`` with their forms for one signal, and ``none`` in ``OTEL_TRACES_EXPORTER`` and
    ``OTEL_METRICS_EXPORTER``.  Trouble with the collector never reaches the program; OpenTelemetry logs it.

    Args:
        service_name: Name under which the process appears.
        endpoint: Base URL of the collector.  For HTTP ``/v1/traces`` and ``/v1/metrics`` are added, and the default
            becomes ``http://localhost:4318``.
        protocol: ``grpc``, or ``http`` (``http/protobuf``).
        resource_attributes: Further attributes of the process.
        edictum_version: ``edictum.version`` of the process; None takes the version of this package.
        force: Send edictum's own spans and metrics there also when the application has a provider; its own telemetry
            stays where it is.
        insecure: Whether gRPC goes without TLS where the endpoint does not say ``https://``.

    Returns:
        Whether telemetry is set up by this call.

    Raises:
        EdictumConfigError: An argument makes no sense.
    """
    global _own
    _check_arguments(service_name, endpoint, protocol, resource_attributes)
    if not has_otel():
        logger.warning("OpenTelemetry is not installed, so no telemetry is sent; %s", INSTALL)
        return False
    with _lock:
        try:
            taken = installed().tracer is not None
            if taken and not force:
                logger.debug("the process has a tracer provider already; it is used as it is")
                return False
            attributes = {"service.name": service_name, "edictum.version": edictum_version or _version()}
            resource = _resource({**attributes, **(resource_attributes or {})})
            providers = _make_providers(resource, endpoint, protocol, insecure)
            _send_the_rest_at_exit(providers)
            if taken:
                _own = providers
            else:
                _install(providers)
        except ImportError as error:
            logger.warning("OpenTelemetry is not complete (%s), so no telemetry is sent; %s", error, INSTALL)
            return False
        except Exception:
            logger.exception("OpenTelemetry cannot be set up, so no telemetry is sent")
            return False
    return True


def get_tracer(name: str = "edictum") -> Tracer:
    """
    A tracer of the process; one that does nothing when OpenTelemetry is not installed.

    Args:
        name: Name of what makes the spans.
    """
    return tracer_of(None, name)


def tracer_of(provider: TracerProvider | None, name: str) -> Tracer:
    """
    A tracer of a provider; None stands for the process.
    """
    if provider is None and _own is not None:
        provider = _own.tracer
    try:
        from opentelemetry import trace
    except ImportError:
        return cast("Tracer", _NoTracer())
    return trace.get_tracer(name, _version(), tracer_provider=provider)


def meter_of(provider: MeterProvider | None) -> Any:
    """
    The meter of a provider; None stands for the process.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """
    if provider is None and _own is not None:
        provider = _own.meter
    from opentelemetry import metrics

    return metrics.get_meter("edictum", _version(), meter_provider=provider)


def api() -> Api:
    """
    The API.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """
    from opentelemetry import context, metrics, trace

    return Api(context, metrics, trace)


def installed() -> Providers:
    """
    The providers of the process, None for one that was never set.

    Raises:
        ImportError: OpenTelemetry is not installed.
    """
    if _own is not None:
        return _own
    from opentelemetry import metrics, trace

    tracer, meter = trace.get_tracer_provider(), metrics.get_meter_provider()
    # The API gives out proxies as long as nobody has set a provider; the one for meters has no public name.
    return Providers(
        None if isinstance(tracer, trace.ProxyTracerProvider) else tracer,
        None if type(meter).__name__ == "_ProxyMeterProvider" else meter,
    )


def _version() -> str:
    version: str = sys.modules["edictum"].__version__  # an import would point upwards
    return version


# --- setting up ---------------------------------------------------------------------------------


def _check_arguments(
    service_name: str, endpoint: str, protocol: str, resource_attributes: Mapping[str, str] | None
) -> None:
    if protocol not in _PROTOCOLS:
        allowed = ", ".join(repr(name) for name in _PROTOCOLS)
        raise EdictumConfigError(f"protocol is one of {allowed}, not {protocol!r}")
    if not isinstance(service_name, str) or not service_name:
        raise EdictumConfigError("service_name is a text that is not empty")
    if not isinstance(endpoint, str) or not endpoint:
        raise EdictumConfigError(f"endpoint is a URL such as {DEFAULT_ENDPOINT!r}")
    if protocol != "grpc" and not endpoint.startswith(("http://", "https://")):
        raise EdictumConfigError("the endpoint begins with http:// or https:// when the protocol is http")
    for name, value in (resource_attributes or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise EdictumConfigError(f"resource_attributes maps text to text; look at {name!r}")


def _resource(attributes: Mapping[str, str]) -> Resource:
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    # The environment once more at the end, because create() lets arguments win over it.
    return Resource.create(dict(attributes)).merge(OTELResourceDetector().detect())


def _make_providers(resource: Resource, endpoint: str, protocol: str, insecure: bool) -> Providers:
    # Both exporters first: what fails, fails before a thread is started.
    spans = _make_exporter("traces", endpoint, protocol, insecure)
    measurements = _make_exporter("metrics", endpoint, protocol, insecure)
    tracer_provider = meter_provider = None
    if spans is not None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracer_provider.add_span_processor(BatchSpanProcessor(spans))
    if measurements is not None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        reader = PeriodicExportingMetricReader(measurements)
        meter_provider = MeterProvider(resource=resource, metric_readers=[reader], shutdown_on_exit=False)
    return Providers(tracer_provider, meter_provider)


def _make_exporter(signal: str, endpoint: str, protocol: str, insecure: bool) -> Any:
    """
    The exporter of one signal; None when the environment switches the signal off.

    Raises:
        ImportError: The exporter for the protocol is not installed.
    """
    if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower() == "none":
        return None
    protocol = _from_environment(signal, "PROTOCOL") or protocol
    named = _from_environment(signal, "ENDPOINT")
    options: dict[str, Any] = {}
    if protocol == "grpc":
        # Without arguments the exporter reads the environment itself, for each signal.
        if named is None:
            options["endpoint"] = endpoint
        if _from_environment(signal, "INSECURE") is None and "://" not in (named or ""):
            options["insecure"] = insecure
    elif named is None:
        base = DEFAULT_HTTP_ENDPOINT if endpoint == DEFAULT_ENDPOINT else endpoint
        options["endpoint"] = f"{base.rstrip('/').removesuffix('/v1/traces')}/v1/{signal}"
    module, name = _EXPORTERS[signal]
    package = "grpc" if protocol == "grpc" else "http"
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{package}.{module}"), name)(**options)


def _from_environment(signal: str, what: str) -> str | None:
    for_one = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}")
    return for_one or os.environ.get(f"OTEL_EXPORTER_OTLP_{what}")


def _send_the_rest_at_exit(providers: Providers) -> None:
    """
    Let the process wait at its end for what is not sent yet, but not long.

    Left to itself, OpenTelemetry tries a collector that does not answer for up to a minute.
    """
    ending = threading.Event()
    started: list[Any] = [provider for provider in providers if provider is not None]

    def shut_down() -> None:
        for provider in started:
            provider.shutdown()

    def wait() -> None:
        ending.wait()
        shut_down()

    # Started now, because at its end an interpreter starts no threads.
    thread = threading.Thread(target=wait, name="edictum-otel-exit", daemon=True)
    thread.start()

    def at_exit() -> None:
        if thread.is_alive():
            ending.set()
            thread.join(EXIT_SECONDS)
        else:  # the thread is not in a forked process
            shut_down()

    atexit.register(at_exit)


def _install(providers: Providers) -> None:
    from opentelemetry import metrics, trace

    if providers.tracer is not None:
        trace.set_tracer_provider(providers.tracer)
    if providers.meter is not None and installed().meter is None:
        metrics.set_meter_provider(providers.meter)


# --- without OpenTelemetry ----------------------------------------------------------------------


class _NoSpan:
    """
    A span that does nothing, also as a context manager and as a decorator.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def __call__(self, function: F) -> F:
        return function

    def is_recording(self) -> bool:
        return False

    def _ignore(self, *args: object, **kwargs: object) -> None:
        return None

    set_attribute = set_attributes = set_status = add_event = add_link = _ignore
    record_exception = update_name = get_span_context = end = _ignore


class _NoTracer:
    __slots__ = ()

    def start_span(self, *args: object, **kwargs: object) -> _NoSpan:
        return _NoSpan()

    start_as_current_span = start_span
