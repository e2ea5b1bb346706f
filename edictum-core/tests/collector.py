"""
A collector of OTLP on loopback, over HTTP or gRPC, that keeps what it is sent.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import recording  # noqa: F401  skips the tests where OpenTelemetry is not installed

# isort: split
import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

TraceRequest = trace_service_pb2.ExportTraceServiceRequest
MetricsRequest = metrics_service_pb2.ExportMetricsServiceRequest


class Collector:
    """
    What came in.

    Attributes:
        url: Base URL.
        paths: Path of each HTTP request.
        traces: Requests with spans.
        metrics: Requests with measurements.
    """

    def __init__(self) -> None:
        self.url = ""
        self.paths: list[str] = []
        self.traces: list[Any] = []
        self.metrics: list[Any] = []

    @property
    def span_names(self) -> list[str]:
        """
        The names of all spans.
        """
        return [
            span.name
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metric_names(self) -> set[str]:
        """
        The names of all that was measured.
        """
        return {
            metric.name
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def resource(self, signal: str = "traces") -> dict[str, str]:
        """
        The attributes of the process that sent the first request.
        """
        sent = self.traces[0].resource_spans if signal == "traces" else self.metrics[0].resource_metrics
        return {item.key: item.value.string_value for item in sent[0].resource.attributes}


@contextmanager
def http_collector() -> Iterator[Collector]:
    """
    Collect over HTTP.
    """
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.paths.append(self.path)
            assert self.headers["Content-Type"] == "application/x-protobuf"
            if self.path.endswith("/v1/traces"):
                collector.traces.append(TraceRequest.FromString(body))
            else:
                collector.metrics.append(MetricsRequest.FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *facts: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    collector.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def grpc_collector() -> Iterator[Collector]:
    """
    Collect over gRPC, without TLS.
    """
    collector = Collector()

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  the name in the protocol
            collector.traces.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  the name in the protocol
            collector.metrics.append(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), server)
        collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield collector
        finally:
            server.stop(None).wait()
