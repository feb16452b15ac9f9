"""What the addresses of the worker protocol name, read alike by the check of who may and by the route."""

import re
from collections.abc import Mapping
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

_NUMBER = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
Named = TypeVar("Named", bound=BaseModel)


def _plain(value: object) -> object:
    # By itself pydantic takes `1.0`, `+1` and ` 1` as well.
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("must be a whole number from 1 on, in digits without sign or leading zeros")
    return value


Attempt = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(_plain)]


class NamedAttempt(BaseModel):
    """An attempt of a task."""

    task: UUID
    attempt: Attempt


class NamedWorker(BaseModel):
    """A worker."""

    worker: UUID


def read_names(model: type[Named], given: Mapping[str, str], place: str) -> Named:
    """What the parameters in the ``path`` or ``query`` of a request name; others than the model's are passed over.

    Raises RequestValidationError as the route would.
    """
    try:
        return model.model_validate({name: given[name] for name in model.model_fields if name in given})
    except ValidationError as error:
        faults = error.errors(include_url=False)
        raise RequestValidationError([{**fault, "loc": (place, *fault["loc"])} for fault in faults]) from None
