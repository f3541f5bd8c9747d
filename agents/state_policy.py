"""`StatePolicy`: a trained full-state policy as others use it; the content of a run's `model.zip`.

A policy on a finite state is a table of action probabilities, so that is what is kept: it needs no
network code to act, to be evaluated or to be drawn.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from imm_rl.envs import options
from imm_rl.envs.model import FloatArray
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import write_atomically

FORMAT = "imm-rl state policy 1"
"""Under "format" in every `data.json`; the number rises when an older reader would misread the file."""

UNREADABLE = (
    *(OSError, KeyError, IndexError, ValueError, RuntimeError, EOFError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What reading a file raises that is damaged, encrypted or of something else."""


class StatePolicy:
    """Action probabilities for each state.

    Attributes:
        table: (S, A), rows are distributions.
        about: Where it comes from (env spec, seed, λ, steps): free-form, but JSON can hold it, and no
            entry is called "format".

    Args:
        table: As above.
        about: As above.
        seed: Of the actions that `predict` draws.

    Raises:
        InvalidInputError: The table is not (S, A), a row is no distribution, or JSON cannot hold `about`.
    """

    def __init__(
        self, table: FloatArray, about: dict[str, Any] | None = None, *, seed: int = 0
    ) -> None:
        table = options.floats("table", table)
        if table.ndim != 2:
            raise invalid("table", "have shape (S, A)", table.shape)
        if not ((table >= 0.0).all() and np.allclose(table.sum(axis=1), 1.0, atol=1e-5)):
            raise invalid("table", "have rows that are ≥ 0 and sum to 1", table)
        self.table = table / table.sum(axis=1, keepdims=True)
        self.about = _checked_about(about)
        self.n_states, self.n_actions = table.shape
        self._rng = np.random.default_rng(options.whole("seed", seed, at_least=0))

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002  stable-baselines3's signature
        deterministic: bool = False,
        rng: np.random.Generator | None = None,
    ) -> tuple[Any, Any]:
        """Actions for states of any shape, in the form of stable-baselines3: (actions, state).

        Args:
            observation: States, whole numbers in [0, S), any shape.
            state: Of recurrent policies; returned as it is.
            episode_start: Of recurrent policies.
            deterministic: Takes the likeliest action instead of drawing one.
            rng: What to draw from; default: the policy's own generator.

        Raises:
            InvalidInputError: The observation is not of states.
        """
        probs = self.table[options.indices("observation", observation, self.n_states)]
        if deterministic:
            return probs.argmax(axis=-1), state
        uniforms = (self._rng if rng is None else rng).random((*probs.shape[:-1], 1))
        return (uniforms >= np.cumsum(probs, axis=-1)[..., :-1]).sum(axis=-1), state

    def save(self, path: str | Path) -> None:
        """Writes a zip of `data.json` and `policy.npz`, whole or not at all.

        Raises:
            InvalidInputError: No file can be written there.
            RunFailedError: The disk failed or is full.
        """
        arrays = io.BytesIO()
        np.savez(arrays, table=self.table)
        data = {"format": FORMAT, **self.about}

        def write(file: Any) -> None:
            with zipfile.ZipFile(file, "w") as archive:
                archive.writestr("data.json", json.dumps(data, indent=2, sort_keys=True))
                archive.writestr("policy.npz", arrays.getvalue())

        write_atomically(path, write)

    @classmethod
    def load(cls, path: str | Path, *, seed: int = 0) -> StatePolicy:
        """Reads what `save` wrote.

        Raises:
            InvalidInputError: No such file, or not one of ours.
        """
        seed = options.whole("seed", seed, at_least=0)
        try:
            with zipfile.ZipFile(path) as archive:
                about = _our_data(archive.read("data.json"))
                # What is no .npz gives an array without names, hence IndexError.
                arrays: Any = np.load(io.BytesIO(archive.read("policy.npz")), allow_pickle=False)
                return cls(arrays["table"], about, seed=seed)
        except FileNotFoundError:
            raise InvalidInputError(f"there is no file {path}.") from None
        except zipfile.BadZipFile:
            raise InvalidInputError(
                f"{path} is no saved policy of imm-rl: it is no zip file."
            ) from None
        except UNREADABLE as error:
            raise InvalidInputError(f"{path} is no saved policy of imm-rl: {error}") from None


def _our_data(text: bytes) -> dict[str, Any]:
    data = json.loads(text)
    found = data.pop("format", None) if isinstance(data, dict) else None
    if found != FORMAT:
        raise invalid("format in data.json", f"be {FORMAT!r}", found)
    return dict(data)


def _checked_about(about: object) -> dict[str, Any]:
    kept = {} if about is None else about
    if not isinstance(kept, dict) or "format" in kept:
        raise invalid("about", "be a dictionary without the entry 'format'", about)
    try:
        json.dumps(kept, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise invalid("about", f"hold what JSON can ({error})", about) from None
    return dict(kept)
