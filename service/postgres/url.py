"""The one form of a database URL."""

from service.postgres.errors import PostgresError

_DRIVER = "postgresql+psycopg2"


def normalise_url(url: str) -> str:
    """Name the driver in a PostgreSQL URL, because SQLAlchemy's default driver changes between releases.

    Raises PostgresError for any other database or driver.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", _DRIVER):
        found = f"'{scheme}://'" if separator else "a text without '://'"  # the rest may hold a password
        raise PostgresError(f"The database URL must begin with postgresql://, not with {found}.")
    return f"{_DRIVER}://{rest}"
