"""Curves for TensorBoard; `imm-rl train` writes one set a seed.

The x axis is environment steps for every agent, so that curves of different agents overlay.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path

EVENT_FILES = "events.out.tfevents.*"


class CurveWriter:
    """Writes scalars into a folder's event file.

    Args:
        folder: Where the event file goes.
        resumed_at: Environment steps at which a stopped run goes on; what was written beyond them
            before it stopped is hidden, so that curves do not double back.
    """

    def __init__(self, folder: str | Path, resumed_at: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # late: imports torch and TensorBoard

        purge = None if resumed_at is None else resumed_at + 1
        if resumed_at is not None:
            _wait_for_a_later_name(Path(folder))
        self._writer = SummaryWriter(str(folder), purge_step=purge)

    def write(self, env_steps: int, values: Mapping[str, float]) -> None:
        """One point of each curve, by tag; values that are not finite are left out."""
        for tag, value in values.items():
            if math.isfinite(value):
                self._writer.add_scalar(tag, value, env_steps)
        self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        self._writer.close()


def _wait_for_a_later_name(folder: Path) -> None:
    """Waits, for a second at most, until a new event file is the last by name.

    TensorBoard reads event files in the order of their names, which start with the second they were
    made in; one of the same second might be read too early, and would hide nothing.
    """
    made = [int(path.name.split(".")[3]) for path in folder.glob(EVENT_FILES)]
    while made and time.time() < max(made) + 1:
        time.sleep(0.05)


def remove_curves(folder: str | Path) -> None:
    """Removes the event files in a folder, for a run that starts anew there."""
    for path in Path(folder).glob(EVENT_FILES):
        path.unlink()
