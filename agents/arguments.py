"""Checks and resolves what users give an agent: restricted policy, weights, seeds, device."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from imm_rl.agents.defaults import DEFAULT_LAMBDA
from imm_rl.agents.methods import METHODS, check_schedule, is_zero
from imm_rl.agents.restricted.asking import is_view_policy
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.restricted.named import named_policy
from imm_rl.agents.settings import ReinforceSettings, is_whole
from imm_rl.agents.solvers.mdp import endless_state
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.registry import tabular
from imm_rl.errors import InvalidInputError, invalid
from imm_rl.schedules import Schedule, parse

if TYPE_CHECKING:
    from imm_rl.agents.restricted.view_policy import ViewPolicy

Weight: TypeAlias = "float | str | Schedule"


def checked_seeds(seeds: Iterable[int] | int) -> list[int]:
    """Different whole numbers ≥ 0, at least one."""
    listed: list[Any] = list(seeds) if isinstance(seeds, Iterable) else [seeds]
    if not listed or not all(is_whole(s) and s >= 0 for s in listed):
        raise invalid("seeds", "be whole numbers ≥ 0, at least one", seeds)
    listed = [int(s) for s in listed]
    if len(set(listed)) != len(listed):
        raise invalid("seeds", "all differ", listed)
    return listed


def checked_policy(pair: EnvPair, restricted: RestrictedPolicy | ViewPolicy | str | None) -> Any:
    """The restricted policy itself, made if a name was given (`named_policy`); its sizes fit the pair.

    A model of SB3 that was trained on the pair's POMDP view, or its zip, becomes a `ViewPolicy`.
    """
    if restricted is None or restricted == "none":
        return None
    if is_view_policy(restricted) or _is_sb3(restricted):
        from imm_rl.agents.restricted.view_policy import as_view_policy  # late: imports Gymnasium

        return as_view_policy(restricted, pair.pomdp().observation_space, pair.mdp().action_space)
    policy = named_policy(restricted, pair) if isinstance(restricted, str) else restricted
    if not callable(getattr(policy, "probs", None)):
        raise invalid("restricted", "have a method probs(beliefs (N, S)) -> (N, A)", type(policy))
    wanted = (pair.model.n_states, pair.model.n_actions)
    received = (getattr(policy, "n_states", None), getattr(policy, "n_actions", None))
    if None in received:
        name = type(policy).__name__
        remedy = "They are the numbers of states S and actions A that probs takes and gives"
        raise invalid(f"restricted policy {name}", "have n_states and n_actions", received, remedy)
    if received != wanted:
        raise InvalidInputError(
            f"the restricted policy is for {received[0]} states and {received[1]} actions; "
            f"{pair.name} has {wanted[0]} states and {wanted[1]} actions. Solve it for this model."
        )
    return policy


def _is_sb3(restricted: Any) -> bool:
    """Whether it is a model of SB3, its zip, or a folder with one."""
    if isinstance(restricted, str | os.PathLike):
        text = os.fspath(restricted)
        return text.endswith(".zip") or os.path.isdir(text)
    return hasattr(restricted, "predict") and hasattr(restricted, "observation_space")


def checked_weights(
    imm_lambda: Weight | Sequence[Weight] | None,
    policy: RestrictedPolicy | None,
    method: str = "imm",
) -> list[Schedule]:
    """The schedules of λ; 0 where there is no use for one, and any other weight is refused."""
    if imm_lambda is None:
        useless = policy is None or not METHODS[method].lambda_means
        own = METHODS[method].default_lambda or DEFAULT_LAMBDA["default"]
        imm_lambda = 0.0 if useless else own
    if not isinstance(imm_lambda, Iterable) or isinstance(imm_lambda, str):
        imm_lambda = [imm_lambda]
    schedules = [parse(w) for w in imm_lambda]
    if not schedules:
        raise invalid("imm_lambda", "name at least one weight", imm_lambda)
    if policy is None and any(not is_zero(s) for s in schedules):
        raise InvalidInputError(
            f"imm_lambda is {', '.join(s.text for s in schedules)}, but there is no restricted policy "
            "to match. Name one, or set imm_lambda to 0."
        )
    if policy is not None:
        for schedule in schedules:
            check_schedule(method, schedule)
    return schedules


def checked_pair(pair: Any) -> EnvPair:
    """An `EnvPair`, and nothing that looks like one; a `FeaturePair` has no model to train on."""
    return tabular(pair, "IMMReinforce")


def checked_settings(settings: Any) -> ReinforceSettings:
    """The settings, or the default ones."""
    if settings is None:
        return ReinforceSettings()
    if not isinstance(settings, ReinforceSettings):
        remedy = "Write ReinforceSettings(...) or ReinforceSettings.preset('paper')"
        raise invalid("settings", "be ReinforceSettings", settings, remedy)
    return settings


def checked_horizon(pair: EnvPair, gamma: float, *, bootstraps: bool) -> None:
    """Refuses γ = 1 with bootstrapping where episodes may go on for ever: values would have no bound."""
    if gamma < 1.0 or not bootstraps:
        return
    endless = endless_state(pair.model)
    if endless is not None:
        raise InvalidInputError(
            f"gamma is 1, and from state {pair.model.state_names[endless]} of {pair.name} a policy can "
            "go on for ever, so the values that bootstrap goes on with have no bound. Set gamma below "
            "1 or bootstrap to false."
        )
