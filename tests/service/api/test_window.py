"""A sliding minute by a clock of the test's own."""

import pytest

from service.api.window import Window


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_so_many_in_a_minute_and_again_when_the_first_is_over(clock: Clock) -> None:
    window = Window(10, clock)
    taken = []
    for _ in range(4):
        taken.append(window.hit(("guess", "a"), 3))
        clock.now += 10
    assert taken == [True, True, True, False]
    assert window.wait(("guess", "a"), 3) == 20
    clock.now += 20
    assert window.wait(("guess", "a"), 3) == 0
    assert [window.hit(("guess", "a"), 3) for _ in range(2)] == [True, False]


def test_every_key_has_a_count_of_its_own(clock: Clock) -> None:
    window = Window(10, clock)
    assert [window.hit(key, 1) for key in (("guess", "a"), ("guess", "b"), ("login", "a"), ("guess", "a"))] == [
        True,
        True,
        True,
        False,
    ]


def test_a_limit_that_changes_counts_what_was_taken_before(clock: Clock) -> None:
    window = Window(10, clock)
    for _ in range(4):
        assert window.hit(("slots", "t"), 4)
        clock.now += 5
    # Two workers fewer: of the four taken the third has to be over.
    assert window.wait(("slots", "t"), 2) == 50
    assert window.wait(("slots", "t"), 5) == 0


def test_keys_are_forgotten_once_nothing_of_theirs_counts(clock: Clock) -> None:
    window = Window(100_000, clock)
    for number in range(1_000):
        assert window.hit(("guess", f"2001:db8:{number:x}::/64"), 5)
    clock.now += 30
    assert window.hit(("request", "t"), 5)
    assert len(window) == 1_001
    clock.now += 30
    # Looking makes no key and keeps none.
    assert window.wait(("guess", "2001:db8:1::/64"), 5) == window.wait(("guess", "another"), 5) == 0
    assert window.hit(("login", "b"), 5)
    assert len(window) == 2


def test_a_flood_of_keys_is_bounded_and_the_latest_count(clock: Clock) -> None:
    window = Window(100, clock)
    for number in range(1_000):
        assert window.hit(("guess", str(number)), 1)
    assert len(window) == 100
    assert not window.hit(("guess", "999"), 1)
