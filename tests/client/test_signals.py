"""Ctrl-C once drains, twice stops."""

import os
import signal

from client.signals import StopRequests


def test_the_first_signal_asks_and_the_second_hurries() -> None:
    with StopRequests() as stops:
        assert (stops.asked, stops.hurried) == (False, False)
        os.kill(os.getpid(), signal.SIGHUP)
        assert (stops.asked, stops.hurried) == (True, False)
        os.kill(os.getpid(), signal.SIGINT)
        assert (stops.asked, stops.hurried) == (True, True)

    assert stops.first is signal.SIGHUP


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)

    with StopRequests():
        assert signal.getsignal(signal.SIGTERM) != before

    assert signal.getsignal(signal.SIGTERM) == before
