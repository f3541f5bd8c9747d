"""What `IMMPPO.save` puts beside SB3's zip, and `IMMPPO.load` takes up again.

Of `agent.zip` these are `agent.imm.npz`, the state of the matching, and the restricted policy: the file
`agent.restricted.npz` or the folder `agent.restricted`, or neither where it cannot be written down. The
state names the policy's place and the save of the zip that it belongs to, so that leftovers of another
save under the same name are never taken for it.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from stable_baselines3.common.save_util import open_path

from imm_rl.agents.neighbours import Equal, Nearest
from imm_rl.agents.restricted.alpha_vectors import AlphaVectorPolicy
from imm_rl.agents.restricted.asking import acts_on_observation
from imm_rl.agents.restricted.belief_table import BeliefTablePolicy
from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy
from imm_rl.agents.restricted.stored import load_policy
from imm_rl.agents.sb3 import IMMCallback
from imm_rl.agents.sb3_seen import seen_by_restricted
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.envs.pair import EnvPair
from imm_rl.errors import InvalidInputError
from imm_rl.files import write_atomically

STATE, FILE, FOLDER = ".imm.npz", ".restricted.npz", ".restricted"
"""Endings of the names beside the zip."""

_SAVE, _KIND, _PLACE = (
    "save",
    "kind",
    "restricted",
)  # entries of the state that are not IMMCallback's


class Beside(NamedTuple):
    """What lies beside a zip.

    Attributes:
        file: Where it was read.
        kind: Of the restricted policy: what it acts on.
        restricted: The file or folder with it; None if it could not be written down.
        state: Of `IMMCallback`.
    """

    file: Path
    kind: str
    restricted: Path | None
    state: dict[str, Any]

    def policy(self, env: Any) -> Any:
        """The restricted policy, or what `IMMCallback` makes it of; None if it was not written down.

        Raises:
            InvalidInputError: It is gone, or damaged, or for a model of other sizes.
        """
        if self.restricted is None:
            return None
        if not self.restricted.exists():
            raise InvalidInputError(
                f"{self.file} belongs to a restricted policy in {self.restricted}, which is not there. "
                "Put it back, or give load(..., restricted=...)."
            )
        if self.restricted.is_dir():
            return str(self.restricted)
        seen = seen_by_restricted(env, None)  # a policy in a file acts on beliefs: no features
        return load_policy(
            self.restricted, seen.restricted_model if isinstance(seen, EnvPair) else None
        )

    def restore(self, callback: IMMCallback) -> None:
        """Puts a callback where the saved one was.

        Raises:
            InvalidInputError: Its restricted policy is of another kind, or the state is damaged.
        """
        kind = _kind(callback.policy)
        if kind != self.kind:
            raise InvalidInputError(
                f"{self.file} belongs to a restricted policy that acts on {self.kind}, and the one given "
                f"acts on {kind}. Give one of that kind, or remove the file to begin matching anew."
            )
        callback.restore(self.state)


def write(path: str | Path, callback: IMMCallback, save: str) -> None:
    """Writes all of it.

    Args:
        path: Of the zip, with or without `.zip`.
        callback: The matching.
        save: A text that the zip has as well, and no other save.
    """
    policy, place = callback.policy, ""
    if isinstance(policy, SB3ViewPolicy):
        place = FOLDER if policy.copy_to(_named(path, FOLDER)) else ""
    elif isinstance(policy, AlphaVectorPolicy | BeliefTablePolicy):  # what load_policy reads
        policy.save(_named(path, FILE))
        place = FILE
    own = {_SAVE: save, _KIND: _kind(policy), _PLACE: place}
    state: dict[str, Any] = {**callback.state(), **{k: np.array(v) for k, v in own.items()}}
    write_atomically(_named(path, STATE), lambda file: np.savez(file, **state))


def read(path: Any, save: str | None) -> Beside | None:
    """Reads the state, and where the policy lies; None if nothing is there.

    Args:
        path: Of the zip; beside an open file lies nothing.
        save: What the zip says.

    Raises:
        InvalidInputError: It is damaged, or of another save.
    """
    file = _named(path, STATE) if isinstance(path, str | Path) else None
    if file is None or not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as arrays:
            state = dict(arrays)
        own = [str(state.pop(name)) for name in (_SAVE, _KIND, _PLACE)]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(
            f"{file} cannot be read: {error}. Remove it to begin matching anew."
        ) from None
    if own[0] != save:
        raise InvalidInputError(
            f"{file} belongs to another save than the zip beside it: one of them was copied, or saving "
            "was cut short. Put the right one there, or remove it to begin matching anew."
        )
    return Beside(file, own[1], _named(path, own[2]) if own[2] else None, state)


def written(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Arguments of `IMMCallback` as JSON has them, and the names of those that it cannot have."""
    kept: dict[str, Any] = {}
    lost: list[str] = []
    for name, value in arguments.items():
        if value is None:
            continue
        if isinstance(value, Nearest | Equal):
            kept[name] = value.text
        elif callable(value) or name == "observations":
            lost.append(name)
        elif name == "observe":
            kept[name] = [int(index) for index in value]
        else:
            kept[name] = value if isinstance(value, str) else int(value)
    return kept, lost


def without_needless(names: Any, env: Any) -> list[str]:
    """The names of remembered arguments, without `observe` where this environment says it itself."""
    says = isinstance(env, EnvPair) or (isinstance(env, FeaturePair) and env.features is not None)
    return [name for name in names if not (says and name == "observe")]


def saved_copies(path: Any) -> int | None:
    """How many copies of the environment the agent in a zip had; None if that is not to be found."""
    file = open_path(path, "r", suffix="zip")
    try:
        with zipfile.ZipFile(file) as archive:
            return int(json.loads(archive.read("data"))["n_envs"])
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error):
        return None  # SB3 is about to read it, and says what is wrong
    finally:
        if isinstance(path, str | Path):
            file.close()


def _kind(policy: Any) -> str:
    """What a policy acts on, and so what its matching remembers."""
    if not hasattr(policy, "probs"):
        return "views, with a memory" if getattr(policy, "remembers", False) else "views"
    return "observations" if acts_on_observation(policy) else "beliefs"


def _named(path: str | Path, ending: str) -> Path:
    return Path(str(path).removesuffix(".zip") + ending)
