import pytest

from service.domain.quantities import mebibytes, parse_duration, parse_size


@pytest.mark.parametrize(("text", "size"), [("8GiB", 8 * 2**30), ("1.5 KB", 1500), ("1B", 1), ("2 TB", 2 * 10**12)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2 h", 7200), ("1d", 86400)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_bytes_are_told_in_mebibytes() -> None:
    assert (mebibytes(3 * 2**19), mebibytes(2**31)) == ("1.5 MiB", "2,048.0 MiB")


@pytest.mark.parametrize("text", ["", "8", "GiB", "8 gib", "-1GiB", "0B", "1e3B", "9999999999999TiB", "8GiB8", "٨GiB"])
def test_anything_else_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as 8GiB or 500MB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["0s", "2 weeks", "2hh", "1,5h"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as 90s, 15m or 2h"):
        parse_duration(text)
