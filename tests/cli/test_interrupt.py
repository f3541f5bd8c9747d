from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from imm_rl.cli.interrupt import stop_on_interrupt


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Python's own, also where the tests run in the background, which ignores Ctrl-C."""
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, held in before.items():
        signal.signal(number, held)


def test_the_first_ctrl_c_asks_and_the_second_stops() -> None:
    with stop_on_interrupt() as asked:
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert not asked.is_set()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.is_set()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_termination_asks_where_a_launcher_may_send_it() -> None:
    with stop_on_interrupt(terminate=True) as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.is_set()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # the second one ends it
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_signals_that_are_ignored_stay_so() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_on_interrupt() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert not asked.is_set()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
