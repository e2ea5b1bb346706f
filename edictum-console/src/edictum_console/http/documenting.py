"""
What the OpenAPI document says beyond what the framework finds out by itself.

That is errors, of which the framework documents its own, which nobody ever gets; and bodies that routes read or write
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.enums import MediaType
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody, Schema

_ERROR_NAME = "ErrorAnswer"
_ERROR: dict[str, Any] = {
    "type": "object",
    "title": _ERROR_NAME,
    "description": "What went wrong: a sentence for people, a word for programs, and where the log tells more.",
    "required": ["code", "detail", "request_id"],
    "properties": {
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Which parts of the request do not fit, with 422.",
            "items": {
                "type": "object",
                "required": ["loc", "msg"],
                "properties": {
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                },
            },
        },
    },
}
_ERROR_ANSWER = {
    "description": "What went wrong",
    "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{_ERROR_NAME}"}}},
}


class Document(JsonRenderPlugin):
    """
    The document as JSON, made when somebody first asks for it and not at every start.
    """

    _text: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """
        Write the document, with the console's errors in the place of the framework's.
        """
        if self._text is None:
            openapi_schema["components"]["schemas"][_ERROR_NAME] = _ERROR
            for methods in openapi_schema["paths"].values():
                for operation in methods.values():
                    operation["responses"].pop("400", None)
                    operation["responses"]["default"] = _ERROR_ANSWER
            self._text = super().render(request, openapi_schema)
        return self._text


def with_body(
    words: Mapping[str, Any], required: bool = True, media_type: str = MediaType.JSON.value
) -> type[Operation]:
    """
    Document a body that a route reads by itself.

    Args:
        words: Its JSON schema.
        required: Whether there must be one.
        media_type: How it is written.
    """
    body = RequestBody(required=required, content={media_type: OpenAPIMediaType(schema=_schema(words))})

    @dataclass  # or the framework's own would not call what follows
    class WithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = body

    return WithBody


def with_text(media_type: str) -> type[Operation]:
    """
    Document an answer that is the bytes of something, of which nothing more can be said.
    """

    @dataclass
    class WithText(Operation):
        def __post_init__(self) -> None:
            content = {media_type: OpenAPIMediaType(schema=None)}
            self.responses = {**(self.responses or {}), "200": OpenAPIResponse("The text", content=content)}

    return WithText


def _schema(words: Mapping[str, Any]) -> Schema:
    return Schema(
        type=words.get("type"),
        required=words.get("required"),
        properties={name: _schema(inner) for name, inner in words.get("properties", {}).items()} or None,
        items=_schema(words["items"]) if "items" in words else None,
        any_of=[_schema(inner) for inner in words["anyOf"]] if "anyOf" in words else None,
    )
