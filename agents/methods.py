"""The ways to use a restricted policy that trainings can be told: IMM and what it is compared with.

One table, free of torch, that the agents, the command line and the comparisons read. What each of
them computes stands in `matching_term` (imm, noising, naive-kl), `advice` (interpolate, jsrl) and
`warm_start` (bc); with every one of them the rest of the training is the same code and, seed by seed,
the same random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from imm_rl.errors import InvalidInputError, unknown_name
from imm_rl.schedules import PaperRatio, Schedule


@dataclass(frozen=True)
class Method:
    """One way to use a restricted policy.

    Attributes:
        text: What it does, in half a line.
        lambda_means: What λ is to it; empty where it has no use for one.
        adapts: Whether λ may adapt to what is measured (`target-kl`, `aligned`): only a weight of a
            loss has a gradient and a distance to adapt to.
        agents: Who serves it.
        source: Where it is from.
        default_lambda: Where nobody gives one; empty: what `defaults` says, or nothing.
    """

    text: str
    lambda_means: str
    adapts: bool
    agents: tuple[str, ...]
    source: str
    default_lambda: str = ""


TERMS = ("imm", "noising", "naive-kl")
"""The methods that add a term to the loss."""

_EVERY = ("reinforce", "ppo", "a2c")
_TABULAR = ("reinforce",)

METHODS: dict[str, Method] = {
    "none": Method("trains without a restricted policy", "", False, _EVERY, ""),
    "imm": Method(
        "matches the induced policy to the restricted one",
        "weight of the matching term",
        True,
        _EVERY,
        "Muneeb and Ohannessian 2024",
    ),
    "noising": Method(
        "matches each state that a belief allows by itself (the k = 1 bound of IMM)",
        "weight of the term",
        True,
        _EVERY,
        "Xie et al. 2017; Muneeb and Ohannessian 2024",
        "linear:1->0@0.1",
    ),
    "naive-kl": Method(
        "matches the agent in the state it is in (kickstarting)",
        "weight of the term",
        True,
        _EVERY,
        "Schmitt et al. 2018",
        "linear:1->0@0.1",
    ),
    "interpolate": Method(
        "trains without, and mixes the restricted policy's probabilities in when acting",
        "odds of the restricted policy: its share is λ/(1+λ)",
        False,
        _TABULAR,
        "Muneeb and Ohannessian 2024",
        "linear:1->0@0.1",
    ),
    "bc": Method(
        "imitates the restricted policy first, then trains without it", "", False, _TABULAR, ""
    ),
    "jsrl": Method(
        "lets the restricted policy act at the beginning of each episode, for ever fewer steps",
        "share of an episode, from its beginning, in which the restricted policy acts",
        False,
        _TABULAR,
        "Uchendu et al. 2023, Jump-Start Reinforcement Learning",
        "linear:0.5->0@0.2",
    ),
}
"""By name, in the order of tables and legends. `docs/compare.md` says how the default λ were chosen: IMM's
rivals do badly with IMM's own, which stays for half of the training."""


def checked_method(name: str | None, *, helped: bool, agent: str = "reinforce") -> str:
    """The method's name; None: `imm` with a restricted policy, `none` without.

    Args:
        name: As a user gave it.
        helped: Whether there is a restricted policy.
        agent: Who trains.

    Raises:
        InvalidInputError: No such method, the agent does not serve it, or it needs a restricted policy
            and there is none, or the other way round.
    """
    if name is None:
        return "imm" if helped else "none"
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    if agent not in METHODS[name].agents:
        serving = " and ".join(METHODS[name].agents)
        raise InvalidInputError(
            f"method {name!r} is served by {serving}; the agent is {agent}. "
            f"Use --agent {METHODS[name].agents[0]}, or method 'imm'."
        )
    if name == "none" and helped:
        raise InvalidInputError(
            "method 'none' trains without a restricted policy, and one is given. Give up one."
        )
    if name != "none" and not helped:
        raise InvalidInputError(
            f"method {name!r} needs a restricted policy, and restricted is 'none'. Name one, or leave "
            "the method out."
        )
    return name


def checked_term(name: str, *, tabular: bool) -> str:
    """The name of a method that adds a term to the loss.

    Args:
        name: As a user gave it.
        tabular: Whether there is a model; without one only `imm` is served.

    Raises:
        InvalidInputError: It is no such method, or is not served.
    """
    if name not in TERMS:
        raise unknown_name("method", name, TERMS)
    if name != "imm" and not tabular:
        raise InvalidInputError(
            f"method {name!r} matches at states that a belief allows, and this environment has no model to "
            "filter beliefs by. Use method 'imm'."
        )
    return name


def check_schedule(method: str, schedule: Schedule) -> None:
    """Refuses a λ that the method has no use for.

    Raises:
        InvalidInputError: See above.
    """
    known = METHODS[method]
    if schedule.observes and not known.adapts:
        raise InvalidInputError(
            f"λ {schedule.text} adapts to what a matching term measures, and method {method!r} has no "
            "such term. Give a number or a schedule such as linear:1->0@0.5."
        )
    if not known.lambda_means and not is_zero(schedule):
        raise InvalidInputError(
            f"λ is {schedule.text}, and method {method!r} has no use for one. Leave it out."
        )


def is_zero(schedule: Schedule) -> bool:
    """Whether λ is 0 throughout: a held or a sloping weight has its largest value at an end."""
    fixed = not schedule.observes and not isinstance(schedule, PaperRatio)
    return fixed and schedule(0.0) == 0.0 == schedule(1.0)
