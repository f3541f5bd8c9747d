"""Trainings in several processes, which talk by gloo, against the same in one."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language.processes import ALONE, Processes, own_device, started
from imm_rl.language.shared_groups import SharedGroups

HERE = Path(__file__).parent
CPU = torch.device("cpu")

sys.path.insert(0, str(HERE))  # the tests' folders are no packages
from launching import ended, start  # noqa: E402
from spread_trainings import CASES  # noqa: E402

sys.path.remove(str(HERE))


def trained(folder: Path, count: int, *cases: str) -> list[dict[str, np.ndarray]]:
    """What each of so many processes came to."""
    words = [HERE / "spread_trainings.py", folder, *cases]
    outcomes = ended(start(words, count), 240)
    assert [code for code, _, _ in outcomes] == [0] * count, outcomes
    found = []
    for rank in range(count):
        with np.load(folder / f"{count}-{rank}.npz") as arrays:
            found.append(dict(arrays))
    return found


def check_equal(alone: dict[str, np.ndarray], together: list[dict[str, np.ndarray]]) -> None:
    for other in together:
        assert other.keys() == alone.keys()
        for name, expected in alone.items():
            np.testing.assert_allclose(other[name], expected, rtol=1e-9, atol=1e-11, err_msg=name)
            assert other[name].tobytes() == together[0][name].tobytes(), name


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    cases = ("batch", "serialized")
    alone = trained(tmp_path, 1, *cases)[0]
    for case in cases:
        assert np.abs(alone[f"{case}/gradient/output.weight"]).max() > 1e-3
        assert alone[f"{case}/1/imm/loss"] > 0.1
        assert alone[f"{case}/0/imm/kl"] > 0.01
    check_equal(alone, trained(tmp_path, 2, *cases))


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_processes_train_as_one_by_every_method(tmp_path: Path, count: int) -> None:
    alone = trained(tmp_path, 1)[0]
    assert {name.split("/")[0] for name in alone} == set(CASES)
    check_equal(alone, trained(tmp_path, count))


# --- meeting ------------------------------------------------------------------------------------

MEETS = """
import os, sys
from datetime import timedelta
from imm_rl.errors import RunFailedError
from imm_rl.language import processes
if os.environ["RANK"] == "1":
    sys.exit(3)
processes.MEETING = timedelta(seconds=1)
try:
    processes.started("cpu")
except RunFailedError as error:
    print(error)
"""


def test_a_process_that_failed_before_the_meeting_is_not_waited_for() -> None:
    (met, failed) = ended(start(["-c", MEETS], 2), 60)
    assert (met[0], failed[0]) == (0, 3)
    assert met[1].startswith(
        "2 processes were started, and not all came together within 1 seconds: "
    )


def test_processes_that_a_test_starts_are_told_of_a_port_that_listens() -> None:
    look = "import os; print(os.environ['MASTER_ADDR'], os.environ['MASTER_PORT'])"
    started = start(["-c", look], 2)
    host, port = f"127.0.0.1 {started.store.port}".split()
    with socket.create_connection((host, int(port)), timeout=10):
        pass
    assert [out for _, out, _ in ended(started, 60)] == [f"{host} {port}\n"] * 2


# --- shares -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [0, 2, 7, 21])
def test_shares_are_all_items_once_and_even(count: int, items: int) -> None:
    shares = [range(items)[Processes(rank, count).share(items)] for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(items))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_shared_groups_equal_hand_values() -> None:
    # Three processes of two positions each: 5 stands in all, 9 in the first and the last.
    ids = torch.tensor([9, 5, 5, 5, 5, 9])
    first, second, third = (SharedGroups.of(ids, Processes(r, 3), CPU) for r in range(3))
    assert first.ids.tolist() == third.ids.tolist() == [5, 9]
    assert second.ids.tolist() == [5]
    assert [g.group.tolist() for g in (first, second, third)] == [[1, 0], [0, 0], [0, 1]]
    assert [g.sizes.tolist() for g in (first, second, third)] == [[1.0, 1.0], [2.0], [1.0, 1.0]]
    assert [g.totals.tolist() for g in (first, second, third)] == [[4.0, 2.0], [4.0], [4.0, 2.0]]
    assert [g.rows.tolist() for g in (first, second, third)] == [[0, 1], [0], [0, 1]]
    assert [g.slots.tolist() for g in (first, second, third)] == [[0, 1], [0], [0, 1]]
    assert {g.n_shared for g in (first, second, third)} == {2}


def test_shared_groups_leave_out_what_one_process_has_alone() -> None:
    ids = torch.tensor([3, 1, 3, 1, 2, 2])
    first, second = (SharedGroups.of(ids, Processes(r, 2), CPU) for r in range(2))
    assert (first.ids.tolist(), second.ids.tolist()) == ([1, 3], [1, 2])
    assert (first.rows.tolist(), second.rows.tolist()) == ([0], [0])
    assert (first.n_shared, first.totals.tolist(), second.totals.tolist()) == (1, [2, 2], [2, 2])


# --- one process, and refusals ------------------------------------------------------------------


def test_alone_there_is_nobody_to_talk_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some clusters set it for machines
    assert started("cpu") is ALONE
    assert (ALONE.first, ALONE.share(5), ALONE.told(3), ALONE.gathered(3)) == (
        True,
        slice(0, 5),
        3,
        [3],
    )
    assert (ALONE.any(True), ALONE.any(False), ALONE.total([1.5, 2.0])) == (True, False, [1.5, 2.0])
    ALONE.check_streams(7)
    ALONE.part()


def test_streams_must_be_divisible() -> None:
    Processes(1, 3).check_streams(9)
    with pytest.raises(
        InvalidInputError, match="divisible by the number of processes, 3; received 10"
    ):
        Processes(1, 3).check_streams(10)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert own_device("auto") == torch.device("cuda", 1)
    assert own_device("cpu") == torch.device("cpu")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InvalidInputError, match="process 2 of this machine finds 2 GPUs"):
        own_device("cuda")
    monkeypatch.delenv("LOCAL_RANK")
    assert own_device("cuda") == torch.device("cuda")
