"""From pydantic's errors to faults that name the field and say what to do."""

import types
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from contract.problems import Fault
from contract.submission import DURATION, SIZE

_MESSAGES = {
    "missing": "is required",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "string_type": "must be text",
    "string_unicode": "must be text without lone surrogates",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too large a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "finite_number": "must be a finite number",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "too_short": "needs at least {min_length} item(s)",
    "too_long": "may have at most {max_length} items",
    "string_too_short": "must not be empty",
    "string_too_long": "may have at most {max_length} characters",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "needs {discriminator}",
}
_PATTERNS = {
    SIZE: "must be a size such as 8GiB or 500MB",
    DURATION: "must be a duration such as 90s, 30m or 2h",
    r"^[^\x00-\x1f\x7f]+$": "must not contain control characters",
    r"^[^\x00]*$": "must not contain NUL characters",
    r"^[A-Za-z0-9+/]*={0,2}$": "must be base64",
    r"^[0-9a-f]{64}$": "must be a SHA-256 as 64 lower-case hexadecimal digits",
}
_PLACES = {"body", "query", "path", "header", "cookie"}
MOST = 50


def faults_of(errors: Sequence[Mapping[str, Any]], model: type[BaseModel] | None = None) -> list[Fault]:
    """One fault an error, at most fifty; ``model`` lets unknown keys be answered with the one that was meant."""
    return [_fault(error, model) for error in errors[:MOST]]


def path_of(location: Iterable[str | int]) -> str:
    """``('search', 'enqueue', 0)`` as ``search.enqueue[0]``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part != "[key]":
            text += f".{_short(part)}" if text else _short(part)
    return text or "(all of it)"


def _fault(error: Mapping[str, Any], model: type[BaseModel] | None) -> Fault:
    location = list(error["loc"])
    if location and location[0] in _PLACES and model is None:
        location = location[1:] or location
    return Fault(path=path_of(location), message=_message(error, location, model))


def _message(error: Mapping[str, Any], location: Sequence[str | int], model: type[BaseModel] | None) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(location, model)
    if kind == "string_pattern_mismatch" and context.get("pattern") in _PATTERNS:
        return _PATTERNS[context["pattern"]]
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**context)
    return str(error["msg"]).removeprefix("Value error, ")


def _unknown_key(location: Sequence[str | int], model: type[BaseModel] | None) -> str:
    known = _keys_at(model, location[:-1]) if model else []
    if not known:
        return "is not a known key: remove it"
    close = get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    if close:
        return f"is not a known key: did you mean {close[0]}?"
    return f"is not a known key: known here are {', '.join(known)}"


def _keys_at(annotation: Any, location: Sequence[str | int]) -> list[str]:
    """The keys that a model has at a location below ``annotation``."""
    for part in location:
        annotation = _inner(annotation, part)
    return sorted(_model(annotation).model_fields) if _model(annotation) else []


def _inner(annotation: Any, part: str | int) -> Any:
    model = _model(annotation)
    if model is not None:
        field = model.model_fields.get(str(part))
        return field.annotation if field else None
    for option in _options(annotation):
        if get_origin(option) in (list, tuple, dict):
            return get_args(option)[-1]
    return None


def _model(annotation: Any) -> Any:
    return next((o for o in _options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)), None)


def _options(annotation: Any) -> list[Any]:
    """The alternatives of a union with Annotated taken off."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for member in get_args(annotation) for option in _options(member)]
    return [annotation]


def _short(part: str) -> str:
    text = part.encode("utf-8", "replace").decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
