"""Documents as text: JSON or YAML, read so that none can surprise or exhaust the server.

The one parser of everything that clients send (docs/decisions/0014-one-strict-parser.md).
"""

import json
import math
import re
from collections.abc import Hashable
from dataclasses import dataclass
from email.message import Message
from typing import Any

import yaml

from contract.submission import MAX_BYTES as MAX_BYTES
from service.api.faults import MOST
from service.domain.errors import MalformedBody, UnsupportedMediaType

MAX_DEPTH = 32
MAX_KEYS = 10_000
MAX_TEXT = 2**16
# Of a submission. Of a report: a curve of 100,000 measurements, each of five values.
MAX_NODES = 20_000
MAX_REPORT_NODES = 1_000_000
# Any media type is shorter with all its parameters, and reading one takes the square of its length.
MAX_MEDIA_TYPE = 200
JSON_TYPES = frozenset({"application/json", "text/json"})
YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Blemish:
    """A value that cannot be taken, at its place in the document."""

    location: Location
    message: str


class Blemishes(list[Blemish]):
    """Those that are told, and one more if there are more: of a million nobody reads the rest."""

    def note(self, location: Location, message: str) -> None:
        """Add one unless there are enough."""
        if len(self) <= MOST:
            self.append(Blemish(location, message))


@dataclass(frozen=True, slots=True)
class _Twice:
    """The last value of a key that stands several times in its mapping; its place is known to ``_clean`` only."""

    value: Any
    where: str = ""


def read_document(body: bytes, content_type: str) -> tuple[dict[str, Any], list[Blemish]]:
    """A mapping of plain values, and what had to be taken out of it: duplicate keys, NaN, NUL and the like.

    Raises unsupported-media-type for what is declared as neither JSON nor YAML, and malformed-body for what is
    neither, for aliases, tags and excess depth, length or number of values.
    """
    if _media_type(content_type) in JSON_TYPES:
        document = _read_json(_text(body, allow_mark=False), MAX_NODES)
    elif _media_type(content_type) in YAML_TYPES:
        document = _read_yaml(_text(body, allow_mark=True))
    else:
        raise UnsupportedMediaType("send the submission as application/yaml or application/json, in UTF-8")
    if not isinstance(document, dict):
        raise MalformedBody("a submission is a mapping with name, dataset and architectures")
    return _cleaned(document)


def read_json(body: bytes, content_type: str) -> tuple[Any, list[Blemish]]:
    """A plain value from a JSON body, and what had to be taken out of it. Raises as ``read_document`` does."""
    if _media_type(content_type) != "application/json":
        raise UnsupportedMediaType("send the body as application/json, in UTF-8")
    return _cleaned(_read_json(_text(body, allow_mark=False), MAX_REPORT_NODES))


def _media_type(content_type: str) -> str | None:
    """The type without its parameters; None for another character set than UTF-8, and for what is too long."""
    if len(content_type) > MAX_MEDIA_TYPE:
        return None
    message = Message()
    message["Content-Type"] = content_type.strip()
    charset = message.get_content_charset("utf-8")
    return message.get_content_type() if content_type and charset in ("utf-8", "utf8", "us-ascii") else None


def _text(body: bytes, *, allow_mark: bool) -> str:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedBody("the body is not UTF-8 text: save it as UTF-8") from None
    if text.startswith("\ufeff"):
        # YAML allows a byte order mark, and editors on Windows write one; JSON forbids it (RFC 8259, section 8.1).
        if not allow_mark:
            raise MalformedBody("the body starts with a byte order mark: save it as UTF-8 without one")
        text = text[1:]
    if not text.strip():
        raise MalformedBody("the body is empty")
    return text


def _read_json(text: str, most: int) -> Any:
    # Every value but the first stands behind one of these; counting them costs nothing, building the values might.
    if sum(map(text.count, ",[{")) >= most:
        raise MalformedBody(f"the body has more than {most:,} values: send less at a time")
    try:
        return json.loads(text, object_pairs_hook=_pairs)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedBody(f"the body is not JSON{where}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise MalformedBody(f"a mapping of the body has {len(pairs):,} keys, at most {MAX_KEYS:,} are read")
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        for key, value in pairs:
            mapping[key] = _Twice(value) if key in seen else value
            seen.add(key)
    return mapping


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise _too_deep() from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise MalformedBody(f"the body is not YAML{where}: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise MalformedBody(f"the body is not YAML: {str(error).splitlines()[0]}") from None


class _Loader(yaml.SafeLoader):
    """YAML's plain values: no aliases, which can grow without bound, no tags, and numbers as YAML 1.2 has them."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise MalformedBody(f"aliases are not read here (line {mark.line + 1}): write the value out")
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            # PyYAML's constructors take what a tag says for granted: they fail at other values, or take for ever.
            line = event.start_mark.line + 1
            raise MalformedBody(f"tags such as !!int are not read here (line {line}): write the plain value")
        self._nodes += 1
        self._depth += 1
        if self._depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise MalformedBody(f"the body has more than {MAX_DEPTH} levels or {MAX_NODES:,} values")
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
                raise MalformedBody(f"keys are plain text (line {line})")
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


def _cleaned(document: Any) -> tuple[Any, list[Blemish]]:
    blemishes = Blemishes()
    return _clean(document, (), blemishes), blemishes


def _clean(value: Any, location: Location, blemishes: Blemishes) -> Any:
    """The value with null for what PostgreSQL cannot store or JSON cannot say."""
    if len(location) > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, _Twice):
        blemishes.note(location, f"stands twice in the same mapping{value.where}: keep one")
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
            blemishes.note(location, "is too large a number")
        case float() if not math.isfinite(value):
            blemishes.note(location, f"is {value}: write a finite number, or quote it where text is meant")
        case int() | float():
            return value
    return None


def _is_sound(text: str, location: Location, blemishes: Blemishes) -> bool:
    if len(text) > MAX_TEXT:
        blemishes.note(location, f"has {len(text):,} characters, at most {MAX_TEXT:,} are read")
        return False
    if "\x00" in text:
        blemishes.note(location, "must not contain NUL characters")
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        blemishes.note(location, "must not contain lone surrogates")
        return False
    return True


def _too_deep() -> MalformedBody:
    return MalformedBody(f"the body is nested deeper than {MAX_DEPTH} levels")
