"""The single checks behind `train_config.resolve`: agent, view, settings, weight, what goes together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imm_rl.agents.sb3_settings import (
    AGENTS,
    MATCHING,
    agents_with,
    completions_unused,
    setting_names,
)
from imm_rl.cli.environments import is_tabular
from imm_rl.errors import InvalidInputError, unknown_name

if TYPE_CHECKING:
    from imm_rl.agents.sb3_settings import SB3Settings
    from imm_rl.agents.settings import ReinforceSettings
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair

VIEWS = ("full", "restricted")


def checked_agent(name: str | None, pair: EnvPair | FeaturePair) -> str:
    """The agent, by default the one for this kind of environment."""
    tabular = is_tabular(pair)
    if name is None:
        return "reinforce" if tabular else "ppo"
    if name not in AGENTS:
        raise unknown_name("agent", name, AGENTS)
    if name == "reinforce" and not tabular:
        raise InvalidInputError(
            f"agent 'reinforce' trains on tabular environments, and {pair.name} has no model. "
            "Use --agent ppo or --agent a2c."
        )
    return name


def checked_view(name: Any, pair: EnvPair | FeaturePair, agent: str, restricted: Any) -> str:
    """What the agent sees.

    Args:
        name: As given, or None.
        pair: The environment.
        agent: Its name.
        restricted: The restricted policy as given, or None where nobody gave one.
    """
    hides = is_tabular(pair) or getattr(pair, "features", None) is not None
    if name is None:
        return "restricted" if not is_tabular(pair) and hides and restricted is None else "full"
    if name not in VIEWS:
        raise unknown_name("view", name, VIEWS)
    if name == "full":
        return "full"
    if not hides:
        raise InvalidInputError(
            f"view 'restricted' sees less than {pair.name} shows, and nothing says how much less. Give "
            "--observe the indices of what it sees, such as --observe 2,3."
        )
    if agent == "reinforce":
        raise InvalidInputError(
            "view 'restricted' is not served by agent 'reinforce', which sees the state. Use --agent ppo."
        )
    if restricted not in (None, "none"):
        raise InvalidInputError(
            f"view 'restricted' trains the policy that sees less, and the restricted policy "
            f"{restricted!r} is to help one that sees all. Give up one."
        )
    return "restricted"


def refuse_spaces(pair: EnvPair | FeaturePair, agent: str, view: str) -> None:
    """Refuses an environment whose spaces Stable-Baselines3 has no network for."""
    from gymnasium import spaces

    if is_tabular(pair):
        return
    served = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    seen: Any = pair.observation_space  # type: ignore[union-attr]  # no EnvPair
    acted: Any = pair.action_space  # type: ignore[union-attr]
    for what, space, known in (
        ("actions", acted, served),
        ("observations", seen, (*served, spaces.Dict)),
    ):
        if not isinstance(space, known) and (what == "actions" or view == "full"):
            names = ", ".join(kind.__name__ for kind in known)
            raise InvalidInputError(
                f"{what} of {pair.name} are {' '.join(str(space).split())}, and agent {agent!r} takes "
                f"{names}. Wrap the environment, and give it as module:factory."
            )


def refuse_method(method: str, *, tabular: bool) -> None:
    """Refuses a method that needs a model where there is none."""
    from imm_rl.agents.methods import TERMS, checked_term

    if not tabular and method in TERMS:
        checked_term(method, tabular=False)


def refuse_settings(agent: str, given: dict[str, Any], flags: dict[str, Any], method: str) -> None:
    """Refuses settings that another agent has, and those of matching where there is nothing to match.

    Args:
        agent: Its name.
        given: Key -> value, of file and flags; with `restricted` as it was resolved.
        flags: Key -> text, of the options that were given.
        method: What the restricted policy is used for.
    """
    for key in given:
        having = agents_with(key)
        if having and agent not in having:
            raise InvalidInputError(
                f"{key} is a setting of {' and '.join(having)}; the agent is {agent}. Leave it out, or "
                f"use --agent {having[0]}."
            )
    for key in (key for key in flags if key.startswith("bc_") and method != "bc"):
        raise InvalidInputError(
            f"{key} is a setting of method 'bc'; the method is {method!r}. Leave it out, or use "
            "--method bc."
        )
    if given["restricted"] == "none":
        for key in (key for key in MATCHING if key in flags):
            raise InvalidInputError(
                f"{key} says where to match, and restricted is 'none': there is nothing to match. "
                "Give up one."
            )


def refuse_misfits(
    agent: str,
    pair: EnvPair | FeaturePair,
    restricted: str,
    settings: ReinforceSettings | SB3Settings,
    temperature: float | None,
) -> None:
    """Refuses what this environment has no use for."""
    completions = getattr(settings, "completions", None)
    if is_tabular(pair):
        if completions is not None:
            raise completions_unused(pair.name)
        if agent != "reinforce":
            _refuse_endless(pair, settings.gamma)
        return
    if temperature is not None:
        raise InvalidInputError(
            f"temperature is that of action values at beliefs, and {pair.name} has no model to filter them "
            "by. Leave it out."
        )
    if settings.context_weight is not None:
        raise InvalidInputError(
            f"context_weight weights beliefs, and {pair.name} has no model to filter them by. Leave it out."
        )
    if completions is not None:
        from imm_rl.agents.neighbours import parse_completions

        parse_completions(completions)
    if restricted == "none":
        return
    features = getattr(pair, "features", None)
    if features is None:
        raise InvalidInputError(
            f"the restricted policy {restricted!r} sees a part of {pair.name}, and nothing says which. "
            "Give --observe the indices of what it sees, such as --observe 2,3."
        )
    features.check_hides()


def _refuse_endless(pair: Any, gamma: float | None) -> None:
    """Refuses γ = 1 where episodes may go on for ever: the value function would have no bound."""
    from imm_rl.agents.solvers.mdp import endless_state

    if (pair.model.discount if gamma is None else gamma) < 1.0:
        return
    endless = endless_state(pair.model)
    if endless is not None:
        raise InvalidInputError(
            f"gamma is 1, and from state {pair.model.state_names[endless]} of {pair.name} a policy can "
            "go on for ever, so the values have no bound. Set gamma below 1."
        )


def checked_preset(name: str, agent: str) -> dict[str, Any]:
    """The settings of a preset."""
    from imm_rl.agents.settings import PRESETS

    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    foreign = [key for key in PRESETS[name] if key not in setting_names(agent)]
    if foreign:
        raise InvalidInputError(
            f"preset {name!r} is one of reinforce, with settings such as {foreign[0]}; the agent is "
            f"{agent}. Use --preset default or --agent reinforce."
        )
    return PRESETS[name]


def checked_lambda(
    value: Any, restricted: str, temperature: float | None, method: str
) -> str | None:
    """The schedule's text, None for the agent's own; refused where there is no use for it."""
    from imm_rl.agents.methods import METHODS, check_schedule
    from imm_rl.schedules import parse

    if restricted != "none":
        if value is None:
            return None if METHODS[method].lambda_means else "0"
        schedule = parse(value)
        check_schedule(method, schedule)
        return str(schedule.text)
    if temperature is not None:
        raise InvalidInputError(
            "temperature is that of the restricted policy, and restricted is 'none'. Give up one."
        )
    if value is not None and _schedule_text(value) != "0":
        raise InvalidInputError(
            f"lambda is {value}, and restricted is 'none': there is nothing to match. Give up one."
        )
    return "0"


def _schedule_text(value: Any) -> str:
    from imm_rl.schedules import parse

    return str(parse(value).text)
