"""Tests for `services/signals.py`."""

import signal

import pytest

from services.signals import STOPPING, Stop, on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    said: list[str] = []
    with on_signals(said.append) as stop:
        stop.hold()
        assert not stop.is_set()
        signal.raise_signal(number)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert said == [STOPPING]


def test_a_closed_terminal_asks_however_often_it_says_so() -> None:
    said: list[str] = []
    with on_signals(said.append) as stop:
        stop.hold()
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        assert stop.is_set()
    assert said == [STOPPING]


def test_a_terminal_that_may_close_is_not_heard() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        with on_signals(lambda _: None) as stop:
            stop.hold()
            signal.raise_signal(signal.SIGHUP)
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_before_there_is_anything_to_save_a_signal_ends_the_command() -> None:
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with SIGINT ignored
    try:
        with on_signals(lambda _: None) as stop, pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert not stop.is_set()


def test_signals_are_taken_back_and_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with on_signals(lambda _: None) as stop:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.hold()
        signal.raise_signal(signal.SIGTERM)
        assert stop.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_stop_of_ones_own_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    Stop().hold()
    assert signal.getsignal(signal.SIGTERM) is before
