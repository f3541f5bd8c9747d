"""`--env` and `--observe`: from texts to an environment, tabular or of Gymnasium; sub-commands call it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.cli import values
from imm_rl.errors import ImmRlError, InvalidInputError, invalid

if TYPE_CHECKING:
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair


def is_tabular(pair: EnvPair | FeaturePair) -> bool:
    """Whether an environment has a model; without one it is a Gymnasium environment in two views."""
    from imm_rl.envs.pair import EnvPair

    return isinstance(pair, EnvPair)


def checked_pair(spec: str) -> EnvPair | FeaturePair:
    """The environment of a spec, with a file's path made absolute.

    Raises:
        InvalidInputError: There is no such environment, or its factory fails.
    """
    from imm_rl.envs.registry import make, parse

    try:
        pair = make(spec)
        target, _ = parse(spec)
    except ImmRlError:
        raise
    except Exception as error:  # of a user's factory
        raise InvalidInputError(
            f"environment {spec!r} cannot be built: {type(error).__name__}: {error}"
        ) from error
    return pair.with_spec(pair.spec.replace(target, absolute(target), 1))


def tabular_pair(spec: str, user: str) -> EnvPair:
    """As `checked_pair`, for a user who needs a model, such as "imm-rl solve".

    Raises:
        InvalidInputError: As `checked_pair`, or it has no model.
    """
    from imm_rl.envs.registry import tabular

    return tabular(checked_pair(spec), user)


def with_observe(spec: str, observe: Any) -> str:
    """The spec with `observe=[...]` put into it.

    Args:
        spec: Of a Gymnasium environment or of a factory of one.
        observe: Indices: "2,3", a list of whole numbers, or one of them.

    Raises:
        InvalidInputError: No indices, a tabular environment, or a spec that says observe itself.
    """
    from imm_rl.envs import registry

    indices = values.indices("observe", observe)
    target, given = registry.parse(spec)
    if target in registry.names() or target.lower().endswith(".pomdp"):
        raise InvalidInputError(
            f"--observe chooses what the restricted view of a Gymnasium environment sees; {target} is "
            "tabular, and its model says what is observed. Leave it out."
        )
    if "observe" in given:
        raise invalid("observe", "be given once", f"in {spec!r} and as an option of its own")
    options = {**given, "observe": list(indices)}
    return f"{target}({', '.join(f'{key}={value!r}' for key, value in options.items())})"


def absolute(text: str) -> str:
    """A file's path from the root, so that a run goes on from whatever folder; other texts as they are."""
    from imm_rl.agents.restricted.policy_files import is_policy_file

    is_file = text.lower().endswith(".pomdp") or is_policy_file(text)
    return str(Path(text).absolute()) if is_file else text


def absolute_policy(text: str, pair: EnvPair | FeaturePair) -> str:
    """The same for a restricted policy, which may be a zip or a folder; a name is left as it is."""
    from imm_rl.agents.restricted.named import policy_names

    is_name = text == "none" or (is_tabular(pair) and text in policy_names())
    if is_name or not Path(text).exists():
        return absolute(text)
    return str(Path(text).absolute())
