"""What is trained with when nothing is said: one readable place, free of torch.

`docs/defaults.md` says how these were chosen and what else was tried. The settings' own defaults are
those of `ReinforceSettings`.
"""

from __future__ import annotations

DEFAULT_LAMBDA = {"default": "linear:1->0@0.5", "paper": "paper"}
"""Weight of the matching term, by preset."""

TRAINING_STEPS = {
    "tiger": 10_000,
    "cheese": 10_000,
    "4x3": 15_000,
    "crying-baby": 10_000,
    "grid": 15_000,
}
"""Environment steps of a run, by environment."""

OTHER_STEPS = 50_000
"""Environment steps of a run on any other environment."""


def training_steps(name: str) -> int:
    """Environment steps of a default run on the environment of this name."""
    return TRAINING_STEPS.get(name, OTHER_STEPS)
