"""From a Gymnasium id, or somebody's environment class, to a `FeaturePair`. `registry.make` calls it.

Gymnasium's errors become one clear line each: the nearest id, the nearest option, the pip command of a
package that is missing.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.error import DependencyNotInstalled

from imm_rl.envs import gym_ids
from imm_rl.envs.feature_pair import FeaturePair
from imm_rl.errors import ImmRlError, InvalidInputError, unknown_name

_OF_MAKE = ("max_episode_steps", "disable_env_checker")
"""Options of `gymnasium.make` itself."""


def of_id(target: str, given: dict[str, Any], observe: Any) -> FeaturePair:
    """The pair of a Gymnasium id, `CartPole-v1` or `module:Id-v0`.

    Args:
        target: The id.
        given: Options of `gymnasium.make` and of the environment.
        observe: What the restricted view sees; None for no restricted view.

    Raises:
        InvalidInputError: The id or an option is unknown, a package is missing, the environment cannot be
            built, or observe does not fit it.
    """
    with _one_line(target):
        spec = _spec(target)
        _check_options(target, spec, given)
        return FeaturePair(spec.id, functools.partial(gymnasium.make, target, **given), observe)


def of_factory(
    target: str, factory: Callable[..., Any], given: dict[str, Any], observe: Any
) -> FeaturePair:
    """The pair of a class or function that makes a Gymnasium environment of the options given.

    Raises:
        InvalidInputError: The environment cannot be built, or observe does not fit it.
    """
    with _one_line(target):
        make_env = functools.partial(factory, **given) if given else factory
        return FeaturePair(target.rpartition(":")[2], make_env, observe)


def versioned(name: str) -> str | None:
    """The newest id of an environment that was named without its version, whatever its case."""
    ids = [i for i in _foreign_ids() if i.rpartition("-v")[0].casefold() == name.casefold()]
    return max(ids, key=_version, default=None)


@contextlib.contextmanager
def _one_line(target: str) -> Iterator[None]:
    try:
        yield
    except ImmRlError:
        raise
    except (DependencyNotInstalled, ImportError) as error:
        what = f"environment {target!r} needs a package that is not installed: {error}"
        missing = getattr(error, "name", None)
        told = "" if "pip install" in what or not missing else f" Try pip install {missing}."
        raise InvalidInputError(f"{what.rstrip('.')}.{told}") from error
    except Exception as error:
        raise InvalidInputError(
            f"environment {target!r} cannot be built: {type(error).__name__}: {error}"
        ) from error


def _spec(target: str) -> EnvSpec:
    module, _, env_id = target.rpartition(":")
    if env_id.startswith(f"{gym_ids.NAMESPACE}/"):
        raise _own(env_id)
    if module:
        try:
            importlib.import_module(module)  # it registers its ids
        except ImportError as error:
            raise InvalidInputError(
                f"cannot import {module!r} of environment {target!r}: {error}. Install its package, or "
                "give module:id with a module that registers the id."
            ) from error
    if env_id in gymnasium.registry:
        return gymnasium.registry[env_id]
    known = list(_foreign_ids())
    base = env_id.rpartition("-v")[0]
    close = versioned(base) or next(iter(difflib.get_close_matches(env_id, known, 1, 0.6)), None)
    hint = f" Did you mean {close!r}?" if close else ""
    raise InvalidInputError(
        f"unknown Gymnasium environment {env_id!r}.{hint} `gymnasium.pprint_registry()` lists the "
        f"{len(known)} known ids; one of another package is module:id, e.g. ale_py:ALE/Pong-v5."
    )


def _own(env_id: str) -> InvalidInputError:
    """Why an id of ours is refused: it is one view of a problem that has both."""
    spec = gymnasium.registry.get(env_id)
    if spec is None:
        own = [i for i in gymnasium.registry if i.startswith(f"{gym_ids.NAMESPACE}/")]
        return unknown_name("environment", env_id, own)
    problem = spec.kwargs["problem"]
    return InvalidInputError(
        f"{env_id!r} is one view of the tabular problem {problem}, which has both. Write make({problem!r})."
    )


def _check_options(target: str, spec: EnvSpec, given: dict[str, Any]) -> None:
    if "render_mode" in given:
        raise InvalidInputError(
            "render_mode is no option of the pair but of its views. Write pair.mdp(render_mode=...)."
        )
    entry: Any = spec.entry_point
    if entry is None or not given:
        return
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    parameters = inspect.signature(creator).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return  # building it tells
    known = {*parameters, *_OF_MAKE, "observe"} - {"render_mode"}
    for key in given:
        if key not in known:
            raise unknown_name("option", key, known, f"of environment {target}")


def _foreign_ids() -> Iterator[str]:
    """The ids of Gymnasium that are not ours."""
    return (i for i in gymnasium.registry if not i.startswith(f"{gym_ids.NAMESPACE}/"))


def _version(env_id: str) -> int:
    number = env_id.rpartition("-v")[2]
    return int(number) if number.isdigit() else -1
