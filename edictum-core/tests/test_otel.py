"""
OpenTelemetry of the process: not there, not used, set up by edictum, by the environment, or by the application.

What belongs to a process as a whole is tried in processes of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import edictum
import pytest
from edictum import EdictumConfigError, configure_otel
from guards import pre, ruleset

SOURCE = Path(edictum.__file__).parents[1]

WITHOUT_OTEL = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""
PRELUDE = """
import asyncio, edictum, json, logging, sys
logging.basicConfig(format="%(name)s %(levelname)s %(message)s")

def call(guard, name="read"):
    return asyncio.run(guard.run(name, {"path": "a"}, lambda path: "done"))

def loaded():
    return sorted(name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "grpc", "google"))
"""


def python(script: str, **environment: str) -> tuple[str, str]:
    """
    Run a script in a process of its own.

    Returns:
        What it printed on standard output and standard error.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    paths = os.pathsep.join([str(SOURCE), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + script],
        env={**inherited, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def ruleset_text(**otel: Any) -> str:
    return json.dumps(ruleset(pre("p", tool="rm"), observability={"otel": otel}))


# --- without it -------------------------------------------------------------------------------------


def test_guards_import_nothing_of_opentelemetry() -> None:
    script = f"""
guard = edictum.Edictum.from_yaml_string({ruleset_text(enabled=False)!r})
assert call(guard) == guard.run_sync("read", {{"path": "a"}}, lambda path: "done") == "done"
print(loaded(), "edictum.telemetry" in sys.modules, "edictum.otel" in sys.modules)
"""
    assert python(script) == ("[] False False", "")


def test_everything_works_without_opentelemetry() -> None:
    script = (
        WITHOUT_OTEL
        + """
assert edictum.has_otel() is False
assert edictum.configure_otel() is False
tracer = edictum.get_tracer()
with tracer.start_as_current_span("a", attributes={"b": 1}) as span:
    span.set_attribute("c", 2)
    assert not span.is_recording()

@tracer.start_as_current_span("d")
def function():
    return "called"

assert function() == "called"
tracer.start_span("e").end()
guard = edictum.Edictum(telemetry=edictum.GovernanceTelemetry(capture_args=True))
assert call(guard) == call(edictum.Edictum()) == "done"
from edictum.telemetry import report_adapter_exception
report_adapter_exception(guard, "read", ValueError())
print(loaded())
"""
    )
    printed, logged = python(script)
    assert printed == "[]"
    assert logged == (
        'edictum.otel WARNING OpenTelemetry is not installed, so no telemetry is sent; pip install "edictum-core[otel]"'
    )


def test_ruleset_that_wants_telemetry_says_what_is_missing() -> None:
    script = (
        WITHOUT_OTEL
        + f"""
assert call(edictum.Edictum.from_yaml_string({ruleset_text(enabled=True)!r})) == "done"
"""
    )
    _, logged = python(script)
    assert 'no telemetry is sent; pip install "edictum-core[otel]"' in logged


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "udp"}, "protocol is one of 'grpc', 'http', 'http/protobuf', not 'udp'"),
        ({"protocol": "http", "endpoint": "collector:4318"}, "begins with http:// or https://"),
        ({"endpoint": ""}, "endpoint is a URL"),
        ({"service_name": ""}, "service_name is a text"),
        ({"resource_attributes": {"a": 1}}, "resource_attributes maps text to text; look at 'a'"),
    ],
)
def test_configure_otel_refuses_what_makes_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EdictumConfigError, match=message):
        configure_otel(**arguments)


def test_ruleset_with_settings_that_make_no_sense_is_refused() -> None:
    text = ruleset_text(enabled=True, protocol="http", endpoint="collector")
    with pytest.raises(EdictumConfigError, match=r"observability\.otel: the endpoint begins with"):
        edictum.Edictum.from_yaml_string(text)
    assert edictum.Edictum.from_yaml_string(text, telemetry=False)


# --- with it ----------------------------------------------------------------------------------------

IN_MEMORY = """
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))

def names():
    found = sorted(span.name for span in exporter.get_finished_spans())
    exporter.clear()
    return found
"""
SPANS_OF_A_CALL = ["edictum.evaluate", "edictum.evaluate", "tool.execute read"]


@pytest.fixture
def sdk() -> None:
    pytest.importorskip("recording")


@pytest.fixture(params=["grpc", "http"])
def collecting(request: pytest.FixtureRequest, sdk: None) -> tuple[str, AbstractContextManager[Any]]:
    import collector

    make = collector.grpc_collector if request.param == "grpc" else collector.http_collector
    return request.param, make()


@pytest.mark.usefixtures("sdk")
def test_has_otel_imports_no_code_of_it() -> None:
    assert python("print(edictum.has_otel(), [name for name in loaded() if 'sdk' in name])")[0] == "True []"


@pytest.mark.usefixtures("sdk")
def test_provider_may_come_after_the_guard() -> None:
    script = (
        """
guard = edictum.Edictum()
call(guard)
"""
        + IN_MEMORY
        + """
call(guard)
print(names())
trace.set_tracer_provider(provider)
call(guard)
print(names())
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
call(guard)
print(names(), "edictum.calls.allowed" in reader.get_metrics_data().to_json())
call(edictum.Edictum(telemetry=False))
print(names())
"""
    )
    assert python(script)[0].splitlines() == ["[]", str(SPANS_OF_A_CALL), f"{SPANS_OF_A_CALL} True", "[]"]


@pytest.mark.usefixtures("sdk")
def test_process_that_only_measures_is_served() -> None:
    script = (
        IN_MEMORY
        + """
metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
call(edictum.Edictum())
print("edictum.calls.allowed" in reader.get_metrics_data().to_json())
"""
    )
    assert python(script)[0] == "True"


@pytest.mark.usefixtures("sdk")
def test_get_tracer_gives_one_of_the_process() -> None:
    script = (
        IN_MEMORY
        + """
trace.set_tracer_provider(provider)
edictum.get_tracer("mine").start_span("a").end()
(span,) = exporter.get_finished_spans()
print(span.instrumentation_scope.name, span.instrumentation_scope.version == edictum.__version__)
"""
    )
    assert python(script)[0] == "mine True"


@pytest.mark.parametrize("source", ["function", "ruleset"])
def test_spans_and_measurements_reach_a_collector(
    collecting: tuple[str, AbstractContextManager[Any]], source: str
) -> None:
    protocol, running = collecting
    with running as collector:
        settings = {
            "endpoint": collector.url,
            "protocol": protocol,
            "service_name": "my-agent",
            "resource_attributes": {"team": "red"},
        }
        if source == "function":
            script = f"assert edictum.configure_otel(**{settings!r})\nguard = edictum.Edictum()\n"
        else:
            script = f"guard = edictum.Edictum.from_yaml_string({ruleset_text(enabled=True, **settings)!r})\n"
        _, logged = python(script + "call(guard)")  # what is left is sent at the end of the process
    assert logged == ""
    assert sorted(collector.span_names) == SPANS_OF_A_CALL
    assert {"edictum.calls.allowed", "edictum.evaluation.duration"} <= collector.metric_names
    for signal in ("traces", "metrics"):
        resource = collector.resource(signal)
        assert (resource["service.name"], resource["team"]) == ("my-agent", "red")
        assert resource["edictum.version"] == edictum.__version__


def test_environment_wins_over_arguments(collecting: tuple[str, AbstractContextManager[Any]]) -> None:
    protocol, running = collecting
    with running as collector:
        script = f"""
edictum.configure_otel(
    service_name="from-code", endpoint="http://127.0.0.1:9", protocol="{"http" if protocol == "grpc" else "grpc"}",
    resource_attributes={{"team": "code", "kept": "yes"}}, edictum_version="7", insecure=False)
call(edictum.Edictum())
"""
        python(
            script,
            OTEL_SERVICE_NAME="from-environment",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc" if protocol == "grpc" else "http/protobuf",
            OTEL_RESOURCE_ATTRIBUTES="team=environment,zone=a%20b",
        )
    resource = collector.resource()
    shown = {name: resource[name] for name in ("service.name", "team", "zone", "kept", "edictum.version")}
    assert shown == {
        "service.name": "from-environment", "team": "environment", "zone": "a b", "kept": "yes", "edictum.version": "7"
    }  # fmt: skip
    assert sorted(collector.span_names) == SPANS_OF_A_CALL


@pytest.mark.usefixtures("sdk")
def test_environment_can_switch_a_signal_off() -> None:
    from collector import http_collector

    with http_collector() as collector:
        script = f'edictum.configure_otel(endpoint={collector.url!r}, protocol="http")\ncall(edictum.Edictum())'
        python(script, OTEL_METRICS_EXPORTER="none")
    assert collector.paths == ["/v1/traces"]


@pytest.mark.usefixtures("sdk")
@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ({}, {}, ("localhost:4317", True)),
        ({"insecure": False}, {}, ("localhost:4317", False)),
        ({"endpoint": "https://collector:4317"}, {}, ("collector:4317", False)),
        ({"endpoint": "collector:4317"}, {}, ("collector:4317", True)),
        ({"insecure": False}, {"OTEL_EXPORTER_OTLP_INSECURE": "true"}, ("localhost:4317", True)),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://e:1"}, ("e:1", False)),
        ({"insecure": False}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:1"}, ("e:1", True)),
        ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "e:1"}, ("e:1", True)),
        ({"insecure": False}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "e:1"}, ("e:1", False)),
        ({}, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1"}, ("t:1", True)),
        ({"protocol": "http"}, {}, "http://localhost:4318/v1/traces"),
        ({"protocol": "http/protobuf"}, {}, "http://localhost:4318/v1/traces"),
        ({"protocol": "http"}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:1"}, "http://e:1/v1/traces"),
        ({"protocol": "http", "endpoint": "http://c:1"}, {}, "http://c:1/v1/traces"),
        ({"protocol": "http", "endpoint": "http://c:1/"}, {}, "http://c:1/v1/traces"),
        ({"protocol": "http", "endpoint": "http://c:1/v1/traces"}, {}, "http://c:1/v1/traces"),
        ({"protocol": "http", "endpoint": "https://c/otlp"}, {}, "https://c/otlp/v1/traces"),
        ({"protocol": "http"}, {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, ("localhost:4317", True)),
        ({}, {"OTEL_TRACES_EXPORTER": "none"}, None),
    ],
)
def test_exporter_goes_where_it_should(
    monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], environment: dict[str, str], expected: Any
) -> None:
    from edictum.otel import DEFAULT_ENDPOINT, _make_exporter
    from opentelemetry.exporter.otlp.proto.grpc import exporter as grpc_exporter

    channels: list[tuple[str, bool]] = []

    def noting(make: Callable[..., Any], insecure: bool) -> Callable[..., Any]:
        def open_channel(target: str, *facts: Any, **more: Any) -> Any:
            channels.append((target, insecure))
            return make(target, *facts, **more)

        return open_channel

    monkeypatch.setattr(grpc_exporter, "insecure_channel", noting(grpc_exporter.insecure_channel, True))
    monkeypatch.setattr(grpc_exporter, "secure_channel", noting(grpc_exporter.secure_channel, False))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = {"endpoint": DEFAULT_ENDPOINT, "protocol": "grpc", "insecure": True, **arguments}
    exporter = _make_exporter("traces", **settings)
    if exporter is not None:
        exporter.shutdown()
    url = None if exporter is None else exporter._endpoint
    assert (channels[0] if channels else url) == expected


@pytest.mark.usefixtures("sdk")
def test_provider_of_the_application_is_left_alone() -> None:
    script = (
        IN_MEMORY
        + """
trace.set_tracer_provider(provider)
assert edictum.configure_otel(endpoint="http://127.0.0.1:9") is False
assert trace.get_tracer_provider() is provider
assert [name for name in loaded() if "exporter.otlp" in name] == []
call(edictum.Edictum())
print(names())
"""
    )
    assert python(script) == (str(SPANS_OF_A_CALL), "")


@pytest.mark.usefixtures("sdk")
def test_force_sends_edictums_own_telemetry_elsewhere() -> None:
    from collector import http_collector

    with http_collector() as collector:
        script = (
            IN_MEMORY
            + f"""
trace.set_tracer_provider(provider)
guard = edictum.Edictum()
call(guard)
assert names() == {SPANS_OF_A_CALL!r}
assert edictum.configure_otel(endpoint={collector.url!r}, protocol="http", force=True) is True
assert trace.get_tracer_provider() is provider
call(guard)
call(edictum.Edictum(telemetry=edictum.GovernanceTelemetry(span_names="genai")))
edictum.get_tracer().start_span("mine").end()
trace.get_tracer("app").start_span("theirs").end()
print(names())
"""
        )
        assert python(script) == ("['theirs']", "")
    assert sorted(collector.span_names) == sorted(
        [*SPANS_OF_A_CALL[:2] * 2, "execute_tool read", "mine", SPANS_OF_A_CALL[2]]
    )
    assert "edictum.calls.allowed" in collector.metric_names


@pytest.mark.usefixtures("sdk")
def test_one_missing_exporter_leaves_the_other_usable() -> None:
    from collector import http_collector

    with http_collector() as collector:
        script = f"""
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry.exporter.otlp.proto.grpc" or name == "grpc":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
assert edictum.has_otel()
assert edictum.configure_otel(endpoint={collector.url!r}) is False
call(edictum.Edictum())
assert edictum.configure_otel(endpoint={collector.url!r}, protocol="http") is True
call(edictum.Edictum())
"""
        _, logged = python(script)
    assert "OpenTelemetry is not complete (No module named 'opentelemetry.exporter.otlp.proto.grpc')" in logged
    assert 'pip install "edictum-core[otel]"' in logged
    assert sorted(collector.span_names) == SPANS_OF_A_CALL


@pytest.mark.fault
@pytest.mark.usefixtures("sdk")
def test_what_cannot_be_set_up_is_logged_and_nothing_else() -> None:
    script = """
class Break:
    def find_spec(self, name, path=None, target=None):
        if name == "opentelemetry.sdk.trace.export":
            raise RuntimeError("broken")

sys.meta_path.insert(0, Break())
assert edictum.configure_otel(protocol="http") is False
assert call(edictum.Edictum()) == "done"
"""
    _, logged = python(script)
    assert "edictum.otel ERROR OpenTelemetry cannot be set up, so no telemetry is sent" in logged


@pytest.mark.fault
@pytest.mark.slow
def test_collector_that_is_not_there_costs_the_process_seconds_at_most(
    collecting: tuple[str, AbstractContextManager[Any]],
) -> None:
    protocol, running = collecting
    with running as collector:
        url = collector.url
    begin = time.monotonic()
    printed, _ = python(f"""
edictum.configure_otel(endpoint={url!r}, protocol={protocol!r})
print(call(edictum.Edictum()))
""")
    assert printed == "done"
    assert time.monotonic() - begin < 20  # left to itself OpenTelemetry tries for up to a minute


@pytest.mark.usefixtures("sdk")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_forked_process_sends_what_is_left() -> None:
    from collector import http_collector

    with http_collector() as collector:
        python(f"""
import os
edictum.configure_otel(endpoint={collector.url!r}, protocol="http")
guard = edictum.Edictum()
child = os.fork()
call(guard, "child" if child == 0 else "parent")
if child:
    assert os.waitpid(child, 0)[1] == 0
""")
    names = [name for name in collector.span_names if name.startswith("tool.execute")]
    assert sorted(names) == ["tool.execute child", "tool.execute parent"]


@pytest.mark.usefixtures("sdk")
def test_environment_can_switch_everything_off() -> None:
    from collector import http_collector

    with http_collector() as collector:
        script = f'edictum.configure_otel(endpoint={collector.url!r}, protocol="http")\nprint(call(edictum.Edictum()))'
        printed, _ = python(script, OTEL_SDK_DISABLED="true")
    assert printed == "done"
    assert collector.span_names == []


@pytest.mark.usefixtures("sdk")
def test_command_line_sends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rules.json"
    path.write_text(ruleset_text(enabled=True))
    for command in (["validate", str(path)], ["check", str(path), "--tool", "read", "--args", "{}"]):
        printed, _ = python(f"""
from edictum.cli import main
try:
    main({command!r})
except SystemExit as end:
    assert not end.code
print(loaded())
""")
        assert printed.endswith("[]")
