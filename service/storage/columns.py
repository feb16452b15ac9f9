"""The metadata of our schema, and the columns and checks that tables have in common."""

from collections.abc import Iterable
from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, DateTime, Index, MetaData, Text, text

from service.storage.engine import SCHEMA

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    },
)
NOW = text("now()")


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """The column has one of these values."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


def state(enum: type[StrEnum], column: str = "state") -> tuple[Column[str], CheckConstraint]:
    """A column for the values of an enumeration, and the check that it has no other."""
    return Column(column, Text, nullable=False), one_of(column, enum)


def moment(name: str, *, nullable: bool = True) -> Column[object]:
    """A moment; one that is never missing is now unless said otherwise."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=None if nullable else NOW)


def fraction(column: str) -> CheckConstraint:
    """The column is between 0 and 1."""
    return CheckConstraint(f"{column} BETWEEN 0 AND 1", name=column)


def unique(name: str, *columns: str, where: str) -> Index:
    """Among the rows that ``where`` takes, no two have the same values in these columns."""
    return Index(name, *columns, unique=True, postgresql_where=text(where))
