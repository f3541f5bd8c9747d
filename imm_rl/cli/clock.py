"""How long a run has trained, before and after stops; kept beside its checkpoint."""

from __future__ import annotations

import json

from imm_rl.runs import RunFolder

CLOCK = "checkpoints/clock.json"


def write_seconds(folder: RunFolder, seconds: float) -> None:
    """Keeps the seconds that went into what the newest checkpoint holds."""
    folder.write_json(CLOCK, {"wall_seconds": seconds})


def read_seconds(folder: RunFolder) -> float:
    """The seconds kept; 0 where there are none."""
    try:
        text = (folder.path / CLOCK).read_text(encoding="utf-8")
        return float(json.loads(text)["wall_seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0  # killed between checkpoint and clock
