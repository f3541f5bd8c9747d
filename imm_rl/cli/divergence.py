"""That an arm of a comparison diverged: kept in its run folder, so that it is told and not met again.

<arm>/diverged.json     {"env_steps": 1200, "error": "the loss of seed 3 is not finite at ..."}
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imm_rl.errors import DivergedError, InvalidInputError
from imm_rl.formats import to_json

FILE = "diverged.json"


@dataclass(frozen=True)
class Divergence:
    """An arm that diverged.

    Attributes:
        label: The arm's.
        run: Its folder.
        env_steps: Of a seed, when it was noticed; None where they are not known.
        error: What happened, and what may help.
    """

    label: str
    run: Path
    env_steps: int | None
    error: str

    @classmethod
    def of(cls, label: str, run: Path, error: DivergedError) -> Divergence:
        """What a training's error says."""
        return cls(label, run, error.env_steps, str(error))

    @classmethod
    def read(cls, label: str, run: Path) -> Divergence | None:
        """What an arm's folder says; None where it did not diverge.

        Raises:
            InvalidInputError: The file cannot be read.
        """
        file = run / FILE
        if not file.is_file():
            return None
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            return cls(label, run, found["env_steps"], str(found["error"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InvalidInputError(
                f"cannot read {file}: {error}. Delete it, and the method is trained on."
            ) from None

    def to_json(self) -> str:
        """The content of `diverged.json`."""
        return to_json({"env_steps": self.env_steps, "error": self.error})

    @property
    def told(self) -> str:
        """`diverged at step 1,200`."""
        return "diverged" if self.env_steps is None else f"diverged at step {self.env_steps:,}"

    def as_dict(self) -> dict[str, Any]:
        """Its entry in `comparison.json`."""
        return {
            "label": self.label,
            "run": str(self.run),
            "env_steps": self.env_steps,
            "error": self.error,
        }
