"""What goes wrong with the embedded server."""


class PostgresError(Exception):
    """PostgreSQL cannot be used; the message is one line that says what to do."""
