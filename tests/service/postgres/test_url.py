import pytest

from service.postgres import PostgresError, normalise_url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_names_the_driver(scheme: str) -> None:
    assert normalise_url(f"{scheme}://u:p@h/d?x=%2F") == "postgresql+psycopg2://u:p@h/d?x=%2F"


@pytest.mark.parametrize(
    "url", ["sqlite:///secret", "mysql://u:secret@h/d", "postgresql+asyncpg://u:secret@h/d", "secret"]
)
def test_refuses_others_without_repeating_a_password(url: str) -> None:
    with pytest.raises(PostgresError, match="must begin with postgresql://") as failure:
        normalise_url(url)
    assert "secret" not in str(failure.value)
