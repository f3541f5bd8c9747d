from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from imm_rl.cli.interrupt import held_back, stop_on_interrupt


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


def _reached_the_end(press: Callable[[], object]) -> bool:
    """Whether a block that holds Ctrl-C back went on behind it; it must come after the block."""
    reached = []

    def block() -> None:
        with held_back():
            press()
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        block()
    return reached == ["the end"]


def test_ctrl_c_waits_for_the_end_of_what_holds_it_back() -> None:
    assert _reached_the_end(lambda: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_ctrl_c_that_another_thread_hears_waits_too() -> None:
    go_on, heard = threading.Event(), threading.Event()

    def hear() -> None:
        go_on.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        heard.set()

    other = threading.Thread(target=hear)
    other.start()  # before the block, so that it does not block the signal

    def press() -> None:
        go_on.set()
        heard.wait()

    assert _reached_the_end(press)
    other.join()


def test_what_is_begun_while_ctrl_c_is_held_back_never_gets_it() -> None:
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    told: list[str] = []

    def begin() -> None:
        go_on.wait()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        told.append(done.stdout.strip())

    go_on = threading.Event()
    later = threading.Thread(target=begin)
    with held_back():
        later.start()
    go_on.set()  # a thread of the block begins it after the block
    later.join()
    assert told == ["True"]
