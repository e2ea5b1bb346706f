"""
What the OpenAPI document says beyond what the framework finds out by itself.

That is errors, of which the framework documents its own, which nobody ever gets; and bodies that routes read or write
themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar.enums import MediaType
from litestar.openapi.spec import (
    OpenAPI,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
)

_TEXT = Schema(type=OpenAPIType.STRING)
_PLACE = Schema(type=OpenAPIType.ARRAY, items=Schema(type=[OpenAPIType.STRING, OpenAPIType.INTEGER]))
_PROBLEM = Schema(type=OpenAPIType.OBJECT, required=["loc", "msg"], properties={"loc": _PLACE, "msg": _TEXT})
_NAME = "ErrorAnswer"
_ERROR = Schema(
    type=OpenAPIType.OBJECT,
    title=_NAME,
    description="What went wrong: a sentence for people, a word for programs, and where the log tells more.",
    required=["code", "detail", "request_id"],
    properties={
        "detail": _TEXT,
        "code": _TEXT,
        "request_id": _TEXT,
        "errors": Schema(
            type=OpenAPIType.ARRAY, items=_PROBLEM, description="Which parts of the request do not fit, with 422."
        ),
    },
)
_METHODS = ("get", "put", "post", "patch", "delete")


def document_errors(document: OpenAPI) -> None:
    """
    Put the console's errors into the document, in the place of the framework's.

    Args:
        document: The document, which is changed.
    """
    document.components.schemas[_NAME] = _ERROR
    content = {MediaType.JSON.value: OpenAPIMediaType(schema=Reference(ref=f"#/components/schemas/{_NAME}"))}
    for item in (document.paths or {}).values():
        for operation in filter(None, (getattr(item, method) for method in _METHODS)):
            responses = operation.responses or {}
            responses.pop("400", None)
            responses["default"] = OpenAPIResponse(description="What went wrong", content=content)


def with_body(words: Mapping[str, Any], required: bool = True) -> type[Operation]:
    """
    Document a JSON body that a route reads by itself.

    Args:
        words: Its JSON schema.
        required: Whether there must be one.
    """
    body = RequestBody(required=required, content={MediaType.JSON.value: OpenAPIMediaType(schema=_schema(words))})

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
