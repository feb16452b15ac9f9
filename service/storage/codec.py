"""Frozen dataclasses of the domain as JSON columns and back."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter

Value = TypeVar("Value")

_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def encode(value: object) -> Any:
    """The value as plain JSON; floats keep every bit."""
    return _adapter(type(value)).dump_python(value, mode="json")


def decode(kind: type[Value], document: Mapping[str, Any]) -> Value:
    """The dataclass that ``encode`` was given."""
    value: Value = _adapter(kind).validate_python(document)
    return value


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    # Building one takes milliseconds; two threads that build the same one do no harm.
    adapter = _adapters.get(kind)
    if adapter is None:
        adapter = _adapters[kind] = TypeAdapter(kind)
    return adapter
