"""
What the OpenAPI document says about errors: the one shape that every route answers with.

The framework documents errors of its own, which nobody ever gets.
"""

from __future__ import annotations

from litestar.enums import MediaType
from litestar.openapi.spec import OpenAPI, OpenAPIMediaType, OpenAPIResponse, OpenAPIType, Reference, Schema

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
