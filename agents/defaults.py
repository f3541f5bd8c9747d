"""What each environment is trained with when nothing is said: one readable place.

`docs/defaults.md` says how these were chosen and what else was tried.
"""

from __future__ import annotations

from typing import Any

DEFAULT_STEPS = 50_000
"""Environment steps of a run for environments that are not listed below."""

TRAINING_DEFAULTS: dict[str, dict[str, Any]] = {
    "tiger": {"steps": 10_000},
    "cheese": {"steps": 10_000},
    "4x3": {"steps": 15_000},
    "crying-baby": {"steps": 10_000},
    "grid": {"steps": 15_000},
}


def training_steps(name: str) -> int:
    """Environment steps of a default run on the environment of this name."""
    return int(TRAINING_DEFAULTS.get(name, {}).get("steps", DEFAULT_STEPS))


def training_settings(name: str) -> dict[str, Any]:
    """Changes to the default settings for the environment of this name."""
    return {k: v for k, v in TRAINING_DEFAULTS.get(name, {}).items() if k != "steps"}
