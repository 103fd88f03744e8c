"""Frozen dataclasses as JSON and back, driven by their type hints.

Decoding is strict: every field is there, none is unknown, and every value has the type of its field. So what a stage
reads is what the stage before it wrote, and a file of another version is refused by the name of a field.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from shadow import files
from shadow.errors import UserError

SCHEMA_VERSION = 1
T = TypeVar("T")
_WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


class Mismatch(ValueError):
    """JSON that is not what a type asks for; the message names the field."""


def named(name: str) -> Any:
    """A field whose key in JSON is `name`, which is no name in Python."""
    return dataclasses.field(metadata={"json": name})


def noted() -> Any:
    """A field that JSON holds only where there is something to say; else it is None."""
    return dataclasses.field(default=None, metadata={"noted": True})


@dataclass(frozen=True)
class _Field:
    """name: the attribute; key: in JSON; noted: see `noted`."""

    name: str
    key: str
    kind: Any
    noted: bool


@functools.cache
def _fields(kind: type) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Field(f.name, f.metadata.get("json", f.name), hints[f.name], "noted" in f.metadata)
        for f in dataclasses.fields(kind)
    )


def encode(value: object) -> Any:
    """The value in dicts and lists, as the `json` module writes it. Fields that are None become null, or are left out
    (`noted`)."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        rows = [(field, getattr(value, field.name)) for field in _fields(type(value))]
        return {field.key: encode(one) for field, one in rows if one is not None or not field.noted}
    if isinstance(value, tuple):
        return [encode(one) for one in value]
    if isinstance(value, dict):
        return {key: encode(one) for key, one in value.items()}
    return value


def decode(kind: type[T], value: Any) -> T:
    """The inverse of `encode`. Raises Mismatch where the value is not of this type."""
    return cast(T, _decode(kind, value, ""))


def _decode(kind: Any, value: Any, at: str) -> Any:
    """at: where the value stands, as in `two_way.strata[0].auc`."""
    origin, inner = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_fields(cast(type, kind), value, at)
    if origin in (Union, types.UnionType):
        return _decode_one_of(inner, value, at)
    if origin is tuple:
        return _decode_tuple(inner, value, at)
    if origin is dict:
        content = _checked(value, dict, "an object", at)
        return {key: _decode(inner[1], one, f"{at}.{key}") for key, one in content.items()}
    return _decode_scalar(kind, value, at)


def _decode_one_of(kinds: tuple[Any, ...], value: Any, at: str) -> Any:
    """The first kind that fits; where none does, what is wrong with the last."""
    if value is None and type(None) in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not type(None))
    for kind in others:
        with contextlib.suppress(Mismatch):
            return _decode(kind, value, at)
    return _decode(last, value, at)


def _decode_fields(kind: type, value: Any, at: str) -> Any:
    content, fields = _checked(value, dict, "an object", at), _fields(kind)
    before = f"{at}." if at else ""
    for field in fields:
        if field.key not in content and not field.noted:
            raise Mismatch(f"field {before}{field.key} is missing")
    unknown = sorted(content.keys() - {field.key for field in fields})
    if unknown:
        raise Mismatch(f"field {before}{unknown[0]} is unknown")
    there = [field for field in fields if field.key in content]
    return kind(**{field.name: _decode(field.kind, content[field.key], before + field.key) for field in there})


def _decode_tuple(inner: tuple[Any, ...], value: Any, at: str) -> tuple[Any, ...]:
    content = _checked(value, list, "a list", at)
    kinds = (inner[0],) * len(content) if inner[1:] == (...,) else inner
    if len(kinds) != len(content):
        raise Mismatch(f"field {at} should have {len(kinds)} entries, not {len(content)}")
    return tuple(_decode(kind, one, f"{at}[{i}]") for i, (kind, one) in enumerate(zip(kinds, content, strict=True)))


def _decode_scalar(kind: Any, value: Any, at: str) -> Any:
    """A whole number may stand for a float; nothing else stands for another type."""
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise Mismatch(f"field {at} should be {_WORDS[kind]}, not {value!r:.40}")
    return value


def _checked(value: Any, kind: type[T], word: str, at: str) -> T:
    if not isinstance(value, kind):
        raise Mismatch(f"{f'field {at}' if at else 'it'} should be {word}, not {value!r:.40}")
    return value


def is_current(path: Path) -> bool:
    """Is there a file of this schema? One of before has to be written again."""
    try:
        return bool(json.loads(path.read_text("utf-8"))["schema_version"] == SCHEMA_VERSION)
    except (OSError, ValueError, KeyError, TypeError):  # missing or damaged: written again
        return False


@dataclass(frozen=True, kw_only=True)
class JsonFile:
    """What a stage hands on in a JSON file. REMEDY: what to do where the file cannot be used."""

    REMEDY: ClassVar[str] = "run the stage again"

    def to_json(self) -> dict[str, Any]:
        """Its fields, with null for what could not be had."""
        return cast(dict[str, Any], encode(self))

    @classmethod
    def from_json(cls, content: Any, path: Path) -> Self:
        """Raises UserError with the name of the file and of the first field that is missing, unknown or wrong."""
        try:
            found = decode(cls, content)
            found.check()
        except Mismatch as error:
            raise UserError(f"{path}: {error}; {cls.REMEDY}") from error
        return found

    def check(self) -> None:
        """Raises Mismatch where this was not written by code that agrees with what reads it."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises UserError where the file is missing, damaged or of another schema."""
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read ({error}); {cls.REMEDY}") from error
        return cls.from_json(content, path)

    def write(self, path: Path) -> None:
        files.write_json(path, self.to_json())


@dataclass(frozen=True, kw_only=True)
class Document(JsonFile):
    """A JSON file that says which schema it has."""

    schema_version: int = SCHEMA_VERSION

    def check(self) -> None:
        """Raises Mismatch for another schema."""
        if self.schema_version != SCHEMA_VERSION:
            raise Mismatch(f"field schema_version is {self.schema_version}, and {SCHEMA_VERSION} can be read")
