import pytest

from service.domain.access import lifetime, weakness


@pytest.mark.parametrize(
    ("text", "seconds"), [("1m", 60), ("12h", 43_200), ("90d", 90 * 86_400), ("3650d", 3650 * 86_400)]
)
def test_how_long_a_token_lives(text: str, seconds: float) -> None:
    assert lifetime(text) == seconds


@pytest.mark.parametrize("text", ["59s", "3651d", "forever", "-1d", "0d", "", "1e9d"])
def test_what_is_no_lifetime(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|lives"):
        lifetime(text)


@pytest.mark.parametrize(
    "secret", ["", "short", "a" * 40, "changeme-changeme-1", "MyVeryLongPassword12", "abababababababababab"]
)
def test_what_is_no_secret(secret: str) -> None:
    assert weakness(secret) is not None


@pytest.mark.parametrize("secret", ["stagetune_worker_9fA-kd83Lw0q", "a-secret-made-by-an-operator"])
def test_what_is_a_secret(secret: str) -> None:
    assert weakness(secret) is None
