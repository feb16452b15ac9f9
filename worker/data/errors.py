"""The errors of this package."""


class DataError(Exception):
    """A data set is missing, damaged or does not fit; the message says what to do about it."""


class NotWritable(DataError):
    """A data set is sound, and this machine's home does not take it."""
