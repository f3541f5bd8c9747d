from __future__ import annotations

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from imm_rl.tensorboard import CurveWriter, remove_curves


def _points(folder: Path, tag: str) -> list[tuple[int, float]]:
    accumulator = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in accumulator.Scalars(tag)]


def _tags(folder: Path) -> list[str]:
    return sorted(EventAccumulator(str(folder)).Reload().Tags()["scalars"])


def test_write_puts_values_at_environment_steps(tmp_path: Path) -> None:
    writer = CurveWriter(tmp_path)
    writer.write(100, {"imm/kl": 0.5})
    writer.write(250, {"imm/kl": 0.25, "time/fps": 7.0})
    writer.close()

    assert _points(tmp_path, "imm/kl") == [(100, 0.5), (250, 0.25)]
    assert _points(tmp_path, "time/fps") == [(250, 7.0)]


def test_write_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    writer = CurveWriter(tmp_path)
    writer.write(100, {"a": math.nan, "b": 1.0})
    writer.close()

    assert _tags(tmp_path) == ["b"]


def test_curves_do_not_double_back_when_a_run_goes_on(tmp_path: Path) -> None:
    writer = CurveWriter(tmp_path)
    for step in (100, 200, 300):
        writer.write(step, {"a": float(step)})
    writer.close()

    # The checkpoint was written at 200: what came after it is done again.
    writer = CurveWriter(tmp_path, resumed_at=200)
    for step in (300, 400):
        writer.write(step, {"a": step + 0.5})
    writer.close()

    assert _points(tmp_path, "a") == [(100, 100.0), (200, 200.0), (300, 300.5), (400, 400.5)]


def test_a_resumed_runs_events_come_last_by_name_however_soon_it_goes_on(tmp_path: Path) -> None:
    before: set[str] = set()
    for resumed_at in (None, 100, 200):
        CurveWriter(tmp_path, resumed_at).close()
        names = {path.name for path in tmp_path.iterdir()}
        assert max(names) in names - before
        seconds = [int(name.split(".")[3]) for name in names]
        assert len(set(seconds)) == len(names)
        before = names


def test_remove_curves_takes_the_event_files_alone(tmp_path: Path) -> None:
    CurveWriter(tmp_path).close()
    (tmp_path / "progress.csv").write_text("")

    remove_curves(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["progress.csv"]


@pytest.mark.parametrize("resumed_at", [None, 0])
def test_a_writer_without_points_leaves_no_tags(tmp_path: Path, resumed_at: int | None) -> None:
    CurveWriter(tmp_path, resumed_at).close()

    assert _tags(tmp_path) == []
