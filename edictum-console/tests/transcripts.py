"""
Replaying what clients send to a console; ``wire/README.md`` says how it is written down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

jsonschema = pytest.importorskip("jsonschema", reason="answers are compared with what clients can read by jsonschema")

FOLDER = Path(__file__).parent / "wire"
LONGEST_LINE = 1_000_000
LINE = re.compile(rb"(?:id: \d+|retry: \d+|event: [a-z_]+|data: [\x20-\x7e]+|: [\x20-\x7e]*|)\n")

_PATIENCE_SECONDS = 20
_PLACE = re.compile(r"\$\{(\w+)\}")


def transcripts() -> dict[str, Any]:
    """
    All of them, by the names of their files.
    """
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def requests(transcript: Any) -> Iterator[Any]:
    """
    Everything that a client sends, also while it listens.
    """
    for step in transcript["exchanges"]:
        if "request" in step:
            yield step
        yield from (inner for inner in step.get("events", ()) if "request" in inner)


@attrs.frozen
class Answer:
    """
    What came back.
    """

    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        """
        The body.
        """
        return json.loads(self.content)


@attrs.define
class Player:
    """
    Sends what a transcript says to a console that is running, and looks at the answers as its client does.

    Attributes:
        address: Where the console listens.
        people: The headers of somebody who does what people do in between.
        kept: What stands in the places of ``${name}``.
    """

    address: str
    people: dict[str, str]
    kept: dict[str, str]

    def play(self, transcript: Any) -> None:
        """
        Send everything, in order.
        """
        self.kept["now"] = datetime.now(UTC).isoformat()  # the same throughout: an event that comes again is the same
        for step in transcript["exchanges"]:
            if "events" in step:
                self._listen(step, transcript)
            else:
                self._step(step, transcript)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """
        Do what people do.
        """
        content = b"" if body is None else json.dumps(body).encode()
        answer = self._send(f"{method} {path} HTTP/1.1", {**self.people, "Content-Type": "application/json"}, content)
        assert 200 <= answer.status < 300, (method, path, answer)
        return answer.json()

    def _step(self, step: Any, transcript: Any) -> None:
        if "people" in step:
            self._do(**self._filled(step["people"]))
            return
        where = f"{transcript['client']} {step['name']}"
        request, expected = step["request"], step["answer"]
        headers = self._filled(request.get("headers", transcript["headers"]))
        content = json.dumps(self._filled(request["body"])).encode() if "body" in request else b""
        answer = self._send(self._filled(request["line"]), headers, content)
        assert answer.status == expected["status"], (where, answer)
        assert answer.headers["x-edictum-api"] == "1", where
        assert answer.headers["x-request-id"], where
        if "type" in expected:
            assert answer.headers["content-type"].partition(";")[0] == expected["type"], where
        elif answer.status != 304:
            # Also of an error: a client that asked for a stream must not take it for one.
            assert answer.headers["content-type"].startswith("application/json"), where
            self._read(answer.json(), expected.get("reads", {}), transcript, where)
            self.kept |= {name: str(answer.json()[field]) for name, field in expected.get("keep", {}).items()}

    def _read(self, found: Any, expected: Any, transcript: Any, where: str) -> None:
        schema = {"$ref": f"#/reads/{expected}"} if isinstance(expected, str) else expected
        validator = jsonschema.Draft202012Validator({"allOf": [schema], "reads": transcript["reads"]})
        problems = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]
        assert not problems, (where, problems, found)

    def _do(self, deploy: int = 0, assign: str = "", pattern: str = "", decide: str = "", **decision: Any) -> None:
        if deploy:
            self.ask("POST", f"/api/v1/bundles/docs-rules/{deploy}/deploy", {"env": "production"})
        elif assign:
            rule = {"env": "production", "pattern": pattern, "bundle_name": assign}
            self.ask("POST", "/api/v1/assignment-rules", rule)
        else:
            self.ask("PUT", f"/api/v1/approvals/{decide}", decision)

    def _listen(self, step: Any, transcript: Any) -> None:
        where = f"{transcript['client']} {step['name']}"
        request = step["request"]
        connection, response = self._open(self._filled(request["line"]), self._filled(request["headers"]), b"")
        try:
            assert response.status == 200, (where, response.read())
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert "no-store" in response.headers["Cache-Control"]
            lines = self._lines(response)
            assert next(lines).startswith("retry: "), where  # and with it a comment, at once
            assert next(lines).startswith(": "), where
            for inner in step["events"]:
                if "event" in inner:
                    event = next(data for name, data in _events(lines) if name == inner["event"])
                    self._read(event, inner["reads"], transcript, f"{where}: {inner['event']}")
                else:
                    self._step(inner, transcript)
        finally:
            connection.close()

    def _lines(self, response: HTTPResponse) -> Iterator[str]:
        while line := response.readline(LONGEST_LINE):
            assert LINE.fullmatch(line), line[:200]
            yield line.decode("ascii")[:-1]

    def _send(self, line: str, headers: dict[str, str], content: bytes) -> Answer:
        connection, response = self._open(line, headers, content)
        try:
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def _open(self, line: str, headers: dict[str, str], content: bytes) -> tuple[HTTPConnection, HTTPResponse]:
        method, target, _ = line.split(" ")
        connection = HTTPConnection(urlsplit(self.address).netloc, timeout=_PATIENCE_SECONDS)
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        if content or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(len(content)))
        connection.endheaders(content or None)
        return connection, connection.getresponse()

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return _PLACE.sub(lambda match: self.kept[match[1]], value)
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        return {name: self._filled(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def _events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """
    Read events as the clients do that match the beginnings of lines literally.
    """
    name = data = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            assert not data, "more than one line of data"
            data = line.removeprefix("data: ")
        elif not line and name:
            yield name, json.loads(data)
            name = data = ""
