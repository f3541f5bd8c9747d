"""`StatePolicy`: a trained full-state policy as others use it; the content of a run's `model.zip`.

A policy on a finite state is a table of action probabilities, so that is what is kept: it needs no
network code to act, to be evaluated or to be drawn.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_atomically


class StatePolicy:
    """Action probabilities for each state.

    Attributes:
        table: (S, A), rows are distributions.
        about: Where it comes from (env spec, seed, λ, steps), free-form and JSON-able.

    Raises:
        InvalidInputError: The table is not (S, A) or a row is no distribution.
    """

    def __init__(self, table: FloatArray, about: dict[str, Any] | None = None) -> None:
        table = np.asarray(table, dtype=np.float64)
        if table.ndim != 2:
            raise invalid("table", "have shape (S, A)", table.shape)
        if not ((table >= 0.0).all() and np.allclose(table.sum(axis=1), 1.0, atol=1e-5)):
            raise invalid("table", "have rows that are ≥ 0 and sum to 1", table)
        self.table = table / table.sum(axis=1, keepdims=True)
        self.about = dict(about or {})
        self.n_states, self.n_actions = table.shape

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002  stable-baselines3's signature
        deterministic: bool = False,
        rng: np.random.Generator | None = None,
    ) -> tuple[Any, Any]:
        """Actions for states of any shape, in the form of stable-baselines3: (actions, state)."""
        probs = self.table[np.asarray(observation)]
        if deterministic:
            return probs.argmax(axis=-1), state
        uniforms = (rng or np.random.default_rng()).random((*probs.shape[:-1], 1))
        return (uniforms >= np.cumsum(probs, axis=-1)[..., :-1]).sum(axis=-1), state

    def save(self, path: str | Path) -> None:
        """Writes a zip of `data.json` and `policy.npz`, whole or not at all."""
        arrays = io.BytesIO()
        np.savez(arrays, table=self.table)
        data = {"format": "imm-rl state policy 1", **self.about}

        def write(file: Any) -> None:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("data.json", json.dumps(data, indent=2, sort_keys=True))
                archive.writestr("policy.npz", arrays.getvalue())

        write_atomically(path, write)

    @classmethod
    def load(cls, path: str | Path) -> StatePolicy:
        """Reads what `save` wrote.

        Raises:
            InvalidInputError: No such file, or not one of ours.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                about = json.loads(archive.read("data.json"))
                with np.load(io.BytesIO(archive.read("policy.npz")), allow_pickle=False) as arrays:
                    table = arrays["table"]
        except FileNotFoundError:
            raise InvalidInputError(f"there is no file {path}.") from None
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InvalidInputError(f"{path} is no saved policy of imm-rl: {error}.") from None
        about.pop("format", None)
        return cls(table, about)
