"""The errors of this package."""


class DataError(Exception):
    """A data set is missing, damaged or does not fit; the message says what to do about it."""
