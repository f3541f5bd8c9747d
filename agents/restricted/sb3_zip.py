"""Reads the policy out of a zip that `model.save` of stable-baselines3 or sb3-contrib left.

`SB3ViewPolicy.load` calls it. Only the policy is made anew: not the algorithm with its buffers, nor its
learning rates and environments, which often cannot be unpickled under another version of Python.

Like every loader of such zips, it unpickles: load no file from somebody you do not trust.
"""

from __future__ import annotations

import json
import os
import pickle
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import torch

from imm_rl.errors import ImmRlError, InvalidInputError

if TYPE_CHECKING:
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.vec_env import VecNormalize

MODEL, STATISTICS = "model.zip", "vecnormalize.pkl"
_NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space", "use_sde")


def find_zip(path: str | os.PathLike[str]) -> Path:
    """The zip that a path means: itself, with `.zip` put behind it, or `model.zip` in a folder.

    Raises:
        InvalidInputError: There is none.
    """
    path = Path(path)
    if path.is_dir():
        if (path / MODEL).is_file():
            return path / MODEL
        found = sorted(str(p.relative_to(path)) for p in path.glob("**/*.zip"))[:8]
        hint = f" It holds {', '.join(found)}: give the path of one." if found else ""
        raise InvalidInputError(f"there is no {MODEL} in the folder {path}.{hint}")
    for candidate in (path, path.with_name(f"{path.name}.zip")):
        if candidate.is_file():
            return candidate
    raise InvalidInputError(
        f"there is no file {path}. Without a model of the environment there is nothing to solve: give "
        "a restricted policy trained on the restricted view, e.g. the zip of a stable-baselines3 model."
    )


def policy_name(path: Path) -> str:
    """What to call the policy of a zip: its name, or its folder's where that is always the same."""
    return path.resolve().parent.name if path.name in (MODEL, "best_model.zip") else path.stem


def read_policy(path: Path, device: str) -> BasePolicy:
    """The policy in a zip, in evaluation mode; torch's random numbers are left as they were.

    Args:
        path: The zip.
        device: Where to put it, "auto": on a GPU if there is one.

    Raises:
        InvalidInputError: No such zip, or one whose policy cannot be made here.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
            data = json.loads(archive.read("data")) if "data" in members else None
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(f"{path} is no zip of stable-baselines3: {error}") from None
    if {"data.json", "policy.npz"} <= members:
        raise InvalidInputError(
            f"{path} holds an agent of --agent reinforce, which acts on the full state and cannot be a "
            "restricted policy. Give a model trained on the restricted view."
        )
    if not isinstance(data, dict) or "policy.pth" not in members:
        held = ", ".join(sorted(members)[:8]) or "nothing"
        raise InvalidInputError(
            f"{path} is no zip of stable-baselines3, which has data and policy.pth; it holds {held}."
        )
    return _made(path, data, device)


def _made(path: Path, data: dict[str, Any], device: str) -> BasePolicy:
    from stable_baselines3.common.policies import BasePolicy
    from stable_baselines3.common.save_util import load_from_zip_file
    from stable_baselines3.common.utils import get_device

    unneeded = {key: None for key in data if key not in _NEEDED}
    try:
        # A cuda device would need its own generators kept; a network is always initialised on the CPU.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            place = get_device(device)  # before a file is open that an error would leave open
            kept, weights, _ = load_from_zip_file(path, custom_objects=unneeded, device=place)
            missing = [key for key in _NEEDED[:4] if key not in (kept or {})]
            if kept is None or missing:
                told = " ".join(str(w.message).split("Exception: ")[-1] for w in said)
                raise InvalidInputError(
                    f"{path}: {', '.join(missing)} cannot be read. {told}".strip()
                )
            _check_kinds(path, kept, BasePolicy)
            options = {k: v for k, v in kept["policy_kwargs"].items() if k != "device"}
            if kept.get("use_sde"):
                options["use_sde"] = True
            policy = kept["policy_class"](
                kept["observation_space"], kept["action_space"], _no_learning, **options
            )
            policy.load_state_dict(weights["policy"])
            made: BasePolicy = policy.to(place)
    except ImmRlError:
        raise
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        remedy = "pip install sb3-contrib" if module == "sb3_contrib" else f"install {module}"
        raise InvalidInputError(
            f"{path} needs {module}, which is not installed: {remedy}."
        ) from error
    except Exception as error:  # whatever a pickle or a custom policy raises
        raise InvalidInputError(
            f"the policy in {path} cannot be made: {type(error).__name__}: {error}"
        ) from error
    made.set_training_mode(False)
    return made


def _check_kinds(path: Path, kept: dict[str, Any], base: type) -> None:
    found = kept["policy_class"]
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InvalidInputError(f"{path}: policy_class must be a policy; received {found!r}.")
    for key in ("observation_space", "action_space"):
        if not isinstance(kept[key], gymnasium.Space):
            raise InvalidInputError(
                f"{path}: {key} must be a space of Gymnasium; received {type(kept[key]).__name__}. "
                "Load the model with stable-baselines3 and save it again."
            )


def _no_learning(progress: float) -> float:  # noqa: ARG001  a schedule
    return 0.0


def read_statistics(path: Path) -> VecNormalize:
    """What `VecNormalize.save` wrote.

    Raises:
        InvalidInputError: It is something else.
    """
    from stable_baselines3.common.vec_env import VecNormalize

    try:
        with path.open("rb") as file:
            found = pickle.load(file)
    except Exception as error:  # whatever unpickling raises
        raise InvalidInputError(
            f"{path} cannot be read: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(found, VecNormalize):
        raise InvalidInputError(
            f"{path} must hold a VecNormalize; received {type(found).__name__}."
        )
    return found
