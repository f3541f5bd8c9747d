from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from imm_rl import launch


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def be(monkeypatch: pytest.MonkeyPatch, **place: int) -> None:
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))


def test_a_process_started_alone_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, WORLD_SIZE=4, RANK=2)  # machines, as some clusters say, and no launcher
    assert (launch.launched(), launch.rank(), launch.local_rank()) == (1, 0, 0)
    assert launch.start_words() == ["imm-rl"]
    assert launch.claim_the_word()


def test_launched_processes_know_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    be(monkeypatch, WORLD_SIZE=8, RANK=5, LOCAL_RANK=1, LOCAL_WORLD_SIZE=4)
    assert (launch.launched(), launch.rank(), launch.local_rank()) == (8, 5, 1)
    assert " ".join(launch.start_words()) == (
        "torchrun --nnodes 2 --nproc-per-node 4 -m imm_rl.cli"
    )
    assert " ".join(launch.start_words(2)) == "torchrun --nproc-per-node 2 -m imm_rl.cli"
    assert launch.start_words(1) == ["imm-rl"]
    monkeypatch.setenv("WORLD_SIZE", "many")
    assert launch.launched() == 1


def test_the_first_that_fails_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=20))
    be(monkeypatch, WORLD_SIZE=2, RANK=1, LOCAL_RANK=1, MASTER_PORT=store.port)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert launch.claim_the_word()
    be(monkeypatch, RANK=0, LOCAL_RANK=0)
    assert not launch.claim_the_word()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # torchrun's next attempt
    assert launch.claim_the_word()


@pytest.mark.parametrize("rank", [0, 1])
def test_without_a_store_the_first_process_speaks(
    monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    monkeypatch.setattr(launch, "CONNECT_SECONDS", 0.1)
    be(monkeypatch, WORLD_SIZE=2, RANK=rank, LOCAL_RANK=rank)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert "MASTER_ADDR" not in os.environ
    assert launch.claim_the_word() == (rank == 0)


def test_a_process_that_met_others_ends_with_its_code_whatever_its_threads_do() -> None:
    """A stand-in for gloo's threads: something that aborts the process at its very end."""
    program = textwrap.dedent(
        """
        import atexit, os, sys
        from imm_rl import launch
        atexit.register(os.abort)  # called last: what was registered later comes before
        print("told")
        launch.end_at_once(3)
        sys.exit(3)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "told\n")
