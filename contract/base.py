"""The two base models: strict on what we are sent to act on, lenient on what a newer peer answers."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints
from pydantic_core import PydanticCustomError, PydanticKnownError


class Strict(BaseModel):
    """A request: unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, from_attributes=True)


class Lenient(BaseModel):
    """An answer: a newer server may add fields that an older client does not know."""

    model_config = ConfigDict(extra="ignore", frozen=True, from_attributes=True)


def _whole(value: object) -> object:
    return _number(value, "int_type")


def _real(value: object) -> object:
    return _number(value, "float_type")


def _number(value: object, otherwise: Literal["int_type", "float_type"]) -> object:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        raise PydanticCustomError("quoted_number", "is text: write the number without quotes")
    if isinstance(value, bool | str | bytes):
        raise PydanticKnownError(otherwise)
    return value


_NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)


# A number in a document is a number, as JSON Schema means it: 2 and 2.0 are whole, 2 is real, true and "2" are neither.
# They stand last in an annotation, so that the bounds before them reach the schema.
WHOLE = BeforeValidator(_whole)
REAL = BeforeValidator(_real)
Flag = StrictBool

# PostgreSQL cannot store NUL, and control characters in a name only confuse terminals.
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1), WHOLE]
Count = Annotated[int, Field(ge=0, le=2**53), WHOLE]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False), REAL]
# As large as a float32 gets, and no sum of such numbers overflows; thirty years are longer than anything takes.
NonNegativeFloat = Annotated[float, Field(ge=0, le=1e40, allow_inf_nan=False), REAL]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), REAL]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), REAL]
