"""`FiniteLosses`: whether the losses of many runs are numbers, told at once or at the next look.

Index letters: N runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imm_rl.errors import DivergedError

MOST_NAMED = 3
"""Runs that an error names; of more it says how many."""


class FiniteLosses:
    """Watches the losses of N runs.

    Args:
        names: Of the runs, as a person names them.
        device: Of the losses.
        at_once: Fail at the update itself, which waits for the device; else at the next `check`.
    """

    def __init__(self, names: Sequence[str], device: torch.device, *, at_once: bool) -> None:
        self._names, self._at_once = names, at_once
        self._failed_at = torch.full(
            (len(names),), -1, device=device
        )  # environment steps; −1: good

    def note(self, losses: Tensor, env_steps: int) -> None:
        """Takes the losses (N,) of an update that was made at so many environment steps.

        Raises:
            DivergedError: One is not finite, where that is told at once.
        """
        if self._at_once:
            self.require(losses, "loss", env_steps)
            return
        first = ~torch.isfinite(losses) & (self._failed_at < 0)
        self._failed_at = self._failed_at.masked_fill(first, env_steps)

    def check(self) -> None:
        """Looks at what was noted; the host waits for the device.

        Raises:
            DivergedError: A loss was not finite.
        """
        failed = self._failed_at.cpu()
        bad = failed >= 0
        if bad.any():
            raise self._error("loss", bad, int(failed[bad].min()))

    def require(self, values: Tensor, what: str, env_steps: int) -> None:
        """Fails where a value (N,) is not finite, naming the runs.

        Raises:
            DivergedError: See above.
        """
        good = torch.isfinite(values)
        if not good.all():
            raise self._error(what, ~good, env_steps)

    def _error(self, what: str, bad: Tensor, env_steps: int) -> DivergedError:
        failed = [self._names[i] for i in torch.nonzero(bad).flatten().tolist()]
        runs = ", ".join(failed[:MOST_NAMED])
        if len(failed) > MOST_NAMED:
            runs += f" and {len(failed) - MOST_NAMED} more"
        return DivergedError(
            f"the {what} of {runs} is not finite at {env_steps} environment steps; a smaller learning "
            "rate or λ may help.",
            env_steps,
        )
