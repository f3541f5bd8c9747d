"""What SB3's logger is given to write into: a run's `progress.csv` and TensorBoard events.

SB3's own CSV writer begins its file anew whenever it is opened; a run that goes on keeps its rows here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.logger import KVWriter, Logger

from imm_rl.runs import PROGRESS, RunFolder
from imm_rl.tensorboard import CurveWriter, remove_curves

CLOCKED = "time/"
"""Begins the tags that differ from run to run; events have them, the table has not."""


class RunCurves(KVWriter):
    """Rows by environment steps.

    Attributes:
        rows: What was logged, in order; `env_steps` and values by tag.

    Args:
        folder: A seed's.
        rows: Those of before a stop.
        resumed_at: Environment steps at which the run goes on; None for a new one.
    """

    def __init__(
        self,
        folder: RunFolder,
        rows: Iterable[Mapping[str, float]] = (),
        resumed_at: int | None = None,
    ) -> None:
        self._folder = folder
        self.rows = [dict(row) for row in rows]
        if resumed_at is None:
            remove_curves(folder.path)
        self._events = CurveWriter(folder.path, resumed_at)

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],  # noqa: ARG002  the signature is not ours
        step: int = 0,
    ) -> None:
        """One point of each curve; SB3's logger calls it."""
        # Adding 0 makes 0 of a −0 that rounding left.
        values = {
            tag: float(value) + 0.0
            for tag, value in key_values.items()
            if isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        }
        self._events.write(step, values)
        kept = {tag: value for tag, value in values.items() if not tag.startswith(CLOCKED)}
        self.rows.append({"env_steps": step, **kept})

    def save(self) -> None:
        """Writes the table."""
        self._folder.write_csv(PROGRESS, self.rows)

    def close(self) -> None:
        """Writes what is left of the events."""
        self._events.close()


def pending(logger: Logger) -> dict[str, tuple[float, int]]:
    """What a logger was told since its last row, JSON-able: by tag a number, and of how many the mean."""
    values: Mapping[str, Any] = logger.name_to_value
    return {
        tag: (float(value), logger.name_to_count.get(tag, 0))
        for tag, value in values.items()
        if isinstance(value, (int, float, np.number))
    }


def restore_pending(logger: Logger, told: Mapping[str, tuple[float, int]]) -> None:
    """Puts a new logger where `pending` says, so that the row after a stop is of all its updates."""
    for tag, (value, count) in told.items():
        logger.record(tag, value)
        logger.name_to_count[tag] = count
