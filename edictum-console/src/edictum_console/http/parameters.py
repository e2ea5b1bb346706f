"""
Parameters that many routes share.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias, TypeVar

from litestar.di import NamedDependency
from litestar.params import QueryParameter, SkipValidation

T = TypeVar("T")

# What the composition root provides; it is no input, so nothing checks or copies it.
Injected: TypeAlias = SkipValidation[NamedDependency[T]]

Cursor: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=256, description="Where the page before ended: its next_cursor.")
]
Limit: TypeAlias = Annotated[int, QueryParameter(ge=1, le=1000, description="How many at most.")]
