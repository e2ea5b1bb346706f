"""
Bodies: every attrs class that a handler takes or returns goes through the converters here.

Types are exact, so ``"12"`` is no number and ``1`` no text, and all problems are told at once, with their places and
without values.  Unknown fields are refused from people, who mistype, and ignored from agents, which may be newer: a
class for agents derives from :class:`AgentBody`.  Limits stand in the annotations, where OpenAPI reads them, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from enum import Enum
from types import UnionType
from typing import Annotated, Any, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import attrs
import msgspec
from cattrs import AttributeValidationNote, Converter, ForbiddenExtraKeysError, IterableValidationNote
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory
from litestar.dto import AbstractDTO
from litestar.openapi.spec import Reference, Schema
from litestar.params import BodyKwarg
from litestar.plugins import OpenAPISchemaPlugin, SerializationPlugin
from litestar.typing import FieldDefinition
from msgspec import Meta

from edictum_console.errors import BadRequestError, FieldProblem, InvalidError

T = TypeVar("T")

# What follows the "$" is for Python, where that also matches before a line feed at the end.
IDENTIFIER = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)"

Identifier: TypeAlias = Annotated[str, Meta(pattern=IDENTIFIER, max_length=128)]
Label: TypeAlias = Annotated[str, Meta(max_length=255)]
Note: TypeAlias = Annotated[str, Meta(max_length=2000)]

_DEEPEST = 32
_MOST_KEYS = 10_000
_SHORT = 5 * _MOST_KEYS  # bytes, which cannot hold more keys
_MOST_PROBLEMS = 50
_LIMITS = ("ge", "le", "min_length", "max_length", "pattern", "description")
_LEAVES = (str, int, float, bool, UUID, datetime)


class AgentBody:
    """
    Base of bodies in which unknown fields are ignored.
    """

    __slots__ = ()


class _UnfitError(ValueError):
    """
    A value does not fit; the text does not show it.
    """


def read_json(body: bytes) -> Any:
    """
    Read JSON that a body holds.

    Raises:
        BadRequestError: It is not JSON, or nested or split up beyond what anybody needs.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body is not JSON", "invalid_json") from None
    _check_shape(value)
    return value


def reader(kind: type[T]) -> Callable[[bytes], T]:
    """
    Make what reads the bodies of a class that come all the time.

    The decoder alone reads most of them, five times as fast; whatever it does not like, or might like too well, goes
    the long way, and what that says counts.

    Args:
        kind: A class for agents, without times: the decoder does not ask for their zones.
    """
    decode = msgspec.json.Decoder(kind).decode

    def read(body: bytes) -> T:
        plain = len(body) <= _SHORT and b"\\u0000" not in body and body.count(b"{") + body.count(b"[") <= _DEEPEST
        if plain:
            try:
                return decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                pass
        return structure(read_json(body), kind)

    return read


def structure(value: Any, kind: type[T]) -> T:
    """
    Make an object of what JSON held.

    Raises:
        InvalidError: It does not fit; says where.
    """
    converter = _LENIENT if isinstance(kind, type) and issubclass(kind, AgentBody) else _STRICT
    try:
        return converter.structure(value, kind)
    except Exception as error:
        problems = list(_problems(error, ()))[:_MOST_PROBLEMS]
        if not problems:
            raise
        first = problems[0]
        place = ".".join(map(str, first.loc)) or "the body"
        raise InvalidError(f"{place}: {first.msg}", problems) from None


def unstructure(value: Any) -> Any:
    """
    Make of an object what can be written as JSON.
    """
    return _STRICT.unstructure(value)


def _check_shape(value: Any) -> None:
    """
    Refuse what is nested too deeply or has too many keys, without recursion.
    """
    keys = 0
    level = [value]
    for _ in range(_DEEPEST):
        deeper: list[Any] = []
        for inner in level:
            if isinstance(inner, dict):
                keys += len(inner)
                deeper += inner.values()
            elif isinstance(inner, list):
                deeper += inner
        if keys > _MOST_KEYS:
            raise BadRequestError(f"the body has more than {_MOST_KEYS} keys", "invalid_json")
        level = [inner for inner in deeper if isinstance(inner, dict | list)]
        if not level:
            return
    raise BadRequestError(f"the body is nested more than {_DEEPEST} levels deep", "invalid_json")


def _leaf(value: Any, kind: Any) -> Any:
    if _is_enum(kind):  # one of text is text to the converter
        return _word(value, kind)
    try:
        converted = msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        raise _UnfitError(_plain(str(error))) from None
    if isinstance(converted, str) and "\0" in converted:
        raise _UnfitError("must not hold a NUL character")
    if isinstance(converted, datetime) and converted.tzinfo is None:
        raise _UnfitError("must say its time zone")
    return converted


def _plain(text: str) -> str:
    wanted = text.replace("`", "").split(", got")[0]
    if "matching regex" in wanted:
        return "has characters that are not allowed here, or is too short or long"
    return f"must be {wanted.removeprefix('Expected ')}" if wanted.startswith("Expected ") else wanted.lower()


def _word(value: Any, kind: type[Enum]) -> Enum:
    for member in kind:
        if type(value) is str and member.value == value:
            return member
    raise _UnfitError(f"must be one of: {', '.join(str(member.value) for member in kind)}")


def _is_limited_leaf(kind: Any) -> bool:
    return get_origin(kind) is Annotated and get_args(kind)[0] in _LEAVES


def _is_limited_list(kind: Any) -> bool:
    return get_origin(kind) is Annotated and _is_generic(get_args(kind)[0], list)


def _of_length(values: list[Any], limits: Meta) -> list[Any]:
    least, most = limits.min_length or 0, limits.max_length
    if len(values) < least or (most is not None and len(values) > most):
        raise _UnfitError(f"must have {least} to {most} entries")
    return values


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _is_generic(kind: Any, container: type) -> bool:
    return bool(get_origin(kind) == container)


def _only(container: type, name: str, inner: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """
    Refuse another kind of container, which the functions of cattrs would walk through item by item.
    """

    def hook(value: Any, kind: Any) -> Any:
        if type(value) is not container:
            raise _UnfitError(f"must be {name}")
        return inner(value, kind)

    return hook


def _converter(strict: bool) -> Converter:
    converter = Converter(forbid_extra_keys=strict, detailed_validation=True)
    for leaf in _LEAVES:
        converter.register_structure_hook(leaf, _leaf)
    converter.register_structure_hook_func(_is_limited_leaf, _leaf)
    converter.register_structure_hook_func(_is_enum, _word)

    @converter.register_structure_hook_factory(lambda kind: _is_generic(kind, list))
    def lists(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        return _only(list, "a list", list_structure_factory(kind, converter))

    @converter.register_structure_hook_factory(_is_limited_list)
    def limited_lists(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        inner, limits = get_args(kind)
        hook = _only(list, "a list", list_structure_factory(inner, converter))
        return lambda value, _: _of_length(hook(value, inner), limits)

    @converter.register_structure_hook_factory(lambda kind: _is_generic(kind, dict))
    def mappings(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        return _only(dict, "an object", mapping_structure_factory(kind, converter))

    @converter.register_structure_hook_factory(lambda kind: isinstance(kind, type) and attrs.has(kind))
    def objects(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
        return _only(dict, "an object", make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=strict))

    converter.register_unstructure_hook(datetime, lambda moment: moment.astimezone(UTC).isoformat())
    converter.register_unstructure_hook(UUID, str)
    return converter


def _problems(error: BaseException, loc: tuple[str | int, ...]) -> Iterator[FieldProblem]:
    """
    Collect what is wrong from the tree of errors that cattrs raises.
    """
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            loc = (*loc, note.name)
        elif isinstance(note, IterableValidationNote):
            loc = (*loc, note.index if isinstance(note.index, int) else str(note.index)[:64])
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _problems(inner, loc)
    elif isinstance(error, ForbiddenExtraKeysError):
        for name in sorted(error.extra_fields):
            yield FieldProblem((*loc, name[:64]), "is not known here")
    elif isinstance(error, KeyError):
        yield FieldProblem(loc, "is missing")
    elif isinstance(error, _UnfitError):
        yield FieldProblem(loc, str(error))


_STRICT = _converter(strict=True)
_LENIENT = _converter(strict=False)


def _documented(kind: Any) -> Any:
    """
    Write limits in the way in which Litestar documents them.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        limits: dict[str, Any] = {}
        for meta in arguments[1:]:
            limits |= {name: getattr(meta, name) for name in _LIMITS if getattr(meta, name, None) is not None}
        return Annotated[arguments[0], BodyKwarg(**limits)]
    if origin in (Union, UnionType):
        return Union[tuple(map(_documented, arguments))]  # noqa: UP007  # of as many as there are
    if origin in (list, dict):
        return origin[tuple(map(_documented, arguments))]
    return kind


class _Body(AbstractDTO[Any]):
    """
    Hands the bodies of one class to the converters.
    """

    kind: Any

    def decode_bytes(self, value: bytes) -> Any:
        """
        Read a request.
        """
        return structure(read_json(value), self.kind)

    def data_to_encodable_type(self, data: Any) -> Any:
        """
        Write an answer.
        """
        return unstructure(data)

    @classmethod
    def create_for_field_definition(cls, field_definition: FieldDefinition, *args: Any, **kwargs: Any) -> None:
        """
        Nothing: there is no model to derive.
        """

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: Any
    ) -> Reference | Schema:
        """
        Describe the class as it is.
        """
        schema: Reference | Schema = schema_creator.for_field_definition(field_definition)
        return schema


class BodyPlugin(SerializationPlugin, OpenAPISchemaPlugin):
    """
    Makes Litestar use the converters for every attrs class, and document the limits that they check.
    """

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:
        """
        Whether it is an attrs class.
        """
        return isinstance(value, type) and attrs.has(value)

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """
        Describe an attrs class.
        """
        hints = get_type_hints(field_definition.type_, include_extras=True)
        fields = attrs.fields_dict(field_definition.type_)
        schema: Schema = schema_creator.create_component_schema(
            field_definition,
            required=sorted(name for name, field in fields.items() if field.default is attrs.NOTHING),
            property_fields={name: FieldDefinition.from_kwarg(_documented(hints[name]), name) for name in fields},
        )
        example = getattr(field_definition.type_, "EXAMPLE", None)
        if example is not None:
            schema.examples = [example]
        return schema

    def supports_type(self, field_definition: FieldDefinition) -> bool:
        """
        Whether it is an attrs class.
        """
        return isinstance(field_definition.annotation, type) and attrs.has(field_definition.annotation)

    def create_dto_for_type(self, field_definition: FieldDefinition) -> type[AbstractDTO[Any]]:
        """
        Make what decodes and encodes it.
        """
        return type("Body", (_Body,), {"kind": field_definition.annotation})


@attrs.frozen
class Done:
    """
    Nothing to say but that it was done.
    """

    done: bool = True
