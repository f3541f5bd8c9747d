"""`--restricted`: from a text to the restricted policy.

none                 train without
pomdp, qmdp, ...     solve the pair's restricted model (solutions are cached)
pouct, pomcp         pomdp_py's planners, asked at up to 200 beliefs and written down as a table
external-sarsop      another program's solution, where it is installed; also external-pomdp-solve
PATH                 a policy that `imm-rl solve --out`, a run or another tool left; its name ends in
                     .npz, .policy, .policyx (SARSOP) or .alpha (pomdp-solve); or a model.zip of
                     stable-baselines3, or the run folder that holds it, trained on the POMDP view
                     (imm-rl train --view restricted)
module:factory       called with the restricted model; returns an object with
                     n_states, n_actions, name and probs(beliefs (N, S)) -> (N, A)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imm_rl.errors import ImmRlError, InvalidInputError, invalid, unknown_name

if TYPE_CHECKING:
    from imm_rl.envs.pair import EnvPair


def check(text: str, pair: EnvPair, temperature: float | None) -> Any:
    """Refuses what cannot be made for this pair; what needs no solving is made and asked once.

    Returns:
        The policy of a file or a factory, which `make` need not make again; None for a name.

    Raises:
        InvalidInputError: No such name, file or factory; a policy for another model, or one whose
            answer at the start is no distribution.
    """
    from imm_rl.agents.restricted.named import check_name, policy_names
    from imm_rl.agents.restricted.policy_files import SUFFIXES

    if text == "none":
        return None
    if text in policy_names():
        check_name(text)
        return None
    if not (is_file(text) or is_sb3(text) or ":" in text):
        error = unknown_name("restricted policy", text, ["none", *policy_names()])
        raise InvalidInputError(
            f"{error} Or give a file ({', '.join(SUFFIXES)}, .zip) or module:factory."
        )

    from imm_rl.agents.restricted.asking import acts_on_observation, is_view_policy, probs_at

    policy = make(text, pair, temperature)
    if policy is not None and not (acts_on_observation(policy) or is_view_policy(policy)):
        probs_at(policy, pair.restricted_model.initial[None])
    return policy


def make(
    text: str,
    pair: EnvPair,
    temperature: float | None,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """The policy that a text means; solving may take a while.

    Args:
        text: See above.
        pair: The environment.
        temperature: Of the policy; None leaves its own.
        progress: Called with (asked, most) while a planner is asked.

    Raises:
        InvalidInputError: See `check`; or the policy is for another model, or has no temperature.
    """
    from imm_rl.agents.arguments import checked_policy
    from imm_rl.agents.restricted.named import named_policy, policy_names

    policy: Any
    if text == "none":
        return None
    if text in policy_names():
        policy = named_policy(text, pair, progress=progress)
    elif is_file(text):
        policy = from_file(text, pair)
    elif is_sb3(text):
        policy = checked_policy(pair, text)
    else:
        policy = made(text, pair.restricted_model)
    if temperature is not None:
        if not hasattr(policy, "with_"):
            raise InvalidInputError(
                f"temperature is {temperature}, and the policy of {text!r} has none. Give up one."
            )
        policy = policy.with_(temperature=temperature)
    return checked_policy(pair, policy)


def is_file(text: str) -> bool:
    """Whether a text names a policy file rather than a solver or a factory."""
    from imm_rl.agents.restricted.policy_files import is_policy_file

    return is_policy_file(text)


def is_sb3(text: str) -> bool:
    """Whether a text names a zip of stable-baselines3, or a folder that may hold one."""
    return text.lower().endswith(".zip") or Path(text).is_dir()


def from_file(path: str | Path, pair: EnvPair) -> Any:
    """The policy in a file, to look ahead in the pair's restricted model."""
    from imm_rl.agents.restricted.stored import load_policy

    if not Path(path).is_file():
        raise InvalidInputError(f"there is no policy file {path}.")
    return load_policy(path, pair.restricted_model)


def made(text: str, argument: Any) -> Any:
    """What the factory of `module:factory` returns for an argument.

    Raises:
        InvalidInputError: There is no such factory, or it fails.
    """
    try:
        return _factory(text)(argument)
    except ImmRlError:
        raise
    except Exception as error:  # of the user's code
        raise InvalidInputError(
            f"restricted policy {text!r} cannot be made: {type(error).__name__}: {error}"
        ) from error


def _factory(text: str) -> Callable[..., Any]:
    name, _, attribute = text.partition(":")
    try:
        found = getattr(importlib.import_module(name), attribute)
    except Exception as error:  # whatever importing a user's module raises
        raise InvalidInputError(
            f"cannot import restricted policy {text!r}: {type(error).__name__}: {error}. "
            "Give module:factory of a module that Python can import from here."
        ) from error
    if not callable(found):
        raise invalid(f"restricted policy {text!r}", "be callable", found)
    return found  # type: ignore[no-any-return]
