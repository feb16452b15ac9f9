"""Documents as text: JSON or YAML, read so that none can surprise or exhaust the server."""

import json
import math
import re
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import yaml

from service.domain.errors import MalformedBody

MAX_BYTES = 1024**2
MAX_DEPTH = 32
MAX_NODES = 20_000
JSON_TYPES = frozenset({"application/json", "text/json"})
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Blemish:
    """A value that cannot be taken, at its place in the document."""

    location: Location
    message: str


@dataclass(frozen=True, slots=True)
class _Twice:
    """The last value of a key that stands several times in its mapping; its place is known to ``_clean`` only."""

    value: Any
    where: str = ""


def read_document(body: bytes, content_type: str) -> tuple[dict[str, Any], list[Blemish]]:
    """A mapping of plain values, and what had to be taken out of it: duplicate keys, NaN, NUL and the like.

    Raises malformed-body for what is neither JSON nor YAML, for aliases and for excess depth or length.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in JSON_TYPES | YAML_TYPES:
        raise _malformed("send the submission as application/yaml or application/json")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _malformed("the submission is not UTF-8 text") from None
    if not text.strip():
        raise _malformed("the submission is empty")
    document = _read_json(text) if kind in JSON_TYPES else _read_yaml(text)
    if not isinstance(document, dict):
        raise _malformed("a submission is a mapping with name, dataset and architectures")
    blemishes: list[Blemish] = []
    return _clean(document, (), blemishes), blemishes


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_pairs)
    except RecursionError:
        raise _malformed(f"the submission is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise _malformed(f"the submission is not JSON{where}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        mapping[key] = _Twice(value) if key in mapping else value
    return mapping


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise _malformed(f"the submission is nested deeper than {MAX_DEPTH} levels") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise _malformed(f"the submission is not YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise _malformed(f"the submission is not YAML: {str(error).splitlines()[0]}") from None


class _Loader(yaml.SafeLoader):
    """YAML's safe types without aliases, which can grow without bound, and with numbers as YAML 1.2 has them."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise _malformed(f"aliases are not read here (line {mark.line + 1}): write the value out")
        self._nodes += 1
        self._depth += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise _malformed(f"the submission has more than {MAX_DEPTH} levels or {MAX_NODES} values")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        repeated: dict[str, str] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _malformed(f"keys are plain text (line {line})")
            if key.value in seen:
                repeated[key.value] = f" (line {line})"
            seen.add(key.value)
            # A name such as 1, on or 2024-01-01 used as a key is still a name.
            key.tag = "tag:yaml.org,2002:str"
        mapping = super().construct_mapping(node, deep=deep)
        return mapping | {key: _Twice(mapping[key], where) for key, where in repeated.items()}


# YAML 1.1 reads 1e-4 as text, 010 as 8, 1:30 as 90, on as true and dates as objects; people mean what YAML 1.2 says.
_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"^(~|null|Null|NULL|)$", "~nN"),
    ("bool", r"^(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(0|[1-9]\d*)$", "-+0123456789"),
    ("float", r"^[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$", "-+.0123456789"),
):
    _firsts = [*_first, ""] if _kind == "null" else [*_first]
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), _firsts)


def _clean(value: Any, location: Location, blemishes: list[Blemish]) -> Any:
    """The value with null for what PostgreSQL cannot store or JSON cannot say."""
    if len(location) > MAX_DEPTH:
        raise _malformed(f"the submission is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, _Twice):
        blemishes.append(Blemish(location, f"stands twice in the same mapping{value.where}: keep one"))
        value = value.value
    match value:
        case dict():
            return {
                key: _clean(inner, (*location, key), blemishes)
                for key, inner in value.items()
                if _is_sound(key, location, blemishes)
            }
        case list():
            return [_clean(inner, (*location, index), blemishes) for index, inner in enumerate(value)]
        case str():
            return value if _is_sound(value, location, blemishes) else None
        case bool() | None:
            return value
        case int() if abs(value) > 2**53:
            blemishes.append(Blemish(location, "is too large a number"))
        case float() if not math.isfinite(value):
            blemishes.append(Blemish(location, f"is {value}: write a finite number, or quote it where text is meant"))
        case int() | float():
            return value
        case _:
            blemishes.append(Blemish(location, f"is of the type {type(value).__name__}: write text or a number"))
    return None


def _is_sound(text: str, location: Location, blemishes: list[Blemish]) -> bool:
    if "\x00" in text:
        blemishes.append(Blemish(location, "must not contain NUL characters"))
        return False
    if any("\ud800" <= character <= "\udfff" for character in text):
        blemishes.append(Blemish(location, "must not contain lone surrogates"))
        return False
    return True


def _malformed(message: str) -> MalformedBody:
    return MalformedBody(message)
