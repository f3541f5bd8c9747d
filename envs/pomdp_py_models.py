"""Between pomdp_py and `TabularPOMDP`, both ways. Users and `pomdp_py_problems` call it.

    model = from_pomdp_py(problem, discount=0.95)      a pomdp_py problem as a table
    agent, env = to_pomdp_py(model)                    a table for pomdp_py's planners

pomdp_py itself is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from imm_rl.envs import options
from imm_rl.envs.global_random import seeded_globals
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pomdp_py_enumerate import Distribution, Limits
from imm_rl.envs.pomdp_py_tables import Questions, tabulate
from imm_rl.errors import InvalidInputError, invalid, unknown_name

BELIEFS = ("histogram", "particles")


def pomdp_py_module() -> Any:
    """The package pomdp_py.

    Raises:
        InvalidInputError: It is not installed here.
    """
    try:
        import pomdp_py
    except ImportError as error:
        raise InvalidInputError(
            f"pomdp-py cannot be imported ({error}). Install it with: pip install 'imm-rl[pomdp-py]'. "
            "There are wheels for Linux x86-64 and Python up to 3.12; elsewhere it is built from source."
        ) from error
    return pomdp_py


def from_pomdp_py(
    problem: Any,
    *,
    discount: float,
    states: Iterable[Any] | None = None,
    actions: Iterable[Any] | None = None,
    observations: Iterable[Any] | None = None,
    terminal: Callable[[Any], bool] | None = None,
    transition: Callable[[Any, Any], Distribution] | None = None,
    observation: Callable[[Any, Any], Distribution] | None = None,
    reward: Callable[[Any, Any, Any], float] | None = None,
    tolerance: float = 1e-6,
    negligible: float = 1e-6,
    most_states: int = 20_000,
    seed: int = 0,
) -> TabularPOMDP:
    """Tabulates a pomdp_py problem: the states that can be reached from the agent's belief.

    States, actions and observations are sorted by their texts, so that two calls give the same model,
    unless they are given. How rows are found: `imm_rl.envs.pomdp_py_enumerate`.

    Args:
        problem: A `pomdp_py.POMDP`, or its `Agent`, whose models and belief are taken.
        discount: γ; pomdp_py leaves it to planners.
        states: All states in the order wanted; default: those reached.
        actions: All actions; default: the policy model's `get_all_actions()`.
        observations: All observations; default: the observation model's `get_all_observations()`, else
            those that `sample` gives.
        terminal: Whether an episode ends in a state. Such states become one, the last: what the models
            say happens there is not asked, and what is seen on arrival is uniform, since it matters to
            nobody. Default: no episode ends, but states that no action leaves and where nothing is paid
            are marked as terminal.
        transition: (state, action) -> {next state: probability}, in place of the model's own.
        observation: (next state, action) -> {observation: probability}, in place of the model's own.
        reward: (state, action, next state) -> number, in place of the model's own.
        tolerance: How far the probabilities of a row may be from summing to 1.
        negligible: Probabilities of at most this are 0, where all outcomes are asked for theirs.
        most_states: More reachable states are refused.
        seed: Of the models' draws; the global generators are put back afterwards.

    Raises:
        InvalidInputError: The problem cannot be enumerated, and why; or an argument is wrong.
    """
    limits = Limits(
        tolerance=options.probability("tolerance", tolerance),
        negligible=options.probability("negligible", negligible),
        most_states=options.whole("most_states", most_states, at_least=1),
    )
    questions = Questions(
        _checked_agent(problem),
        limits,
        states,
        actions,
        observations,
        terminal,
        transition=transition,
        observation=observation,
        reward=reward,
    )
    gamma = options.discount(discount)
    with seeded_globals(options.whole("seed", seed, at_least=0)):
        return tabulate(questions, gamma)


def to_pomdp_py(
    model: TabularPOMDP,
    *,
    belief: str = "histogram",
    particles: int = 1_000,
    initial_state: int | None = None,
    seed: int = 0,
) -> tuple[Any, Any]:
    """The model as a `pomdp_py.Agent` and a `pomdp_py.Environment`, for pomdp_py's planners.

    `agent.all_states`, `all_actions` and `all_observations` stand in the model's order; each object has
    an `index` and a `name`. pomdp_py knows no terminal states: they are absorbing and pay nothing.

    Args:
        model: The POMDP.
        belief: "histogram" (of every state) or "particles" (what POMCP needs), at the start belief.
        particles: How many of them.
        initial_state: Where the environment starts; default: drawn from the start belief.
        seed: Of that draw.

    Returns:
        (agent, environment)

    Raises:
        InvalidInputError: pomdp_py is not installed, or an argument is wrong.
    """
    if not isinstance(model, TabularPOMDP):
        raise invalid("model", "be a TabularPOMDP", type(model).__name__)
    if belief not in BELIEFS:
        raise unknown_name("belief", belief, BELIEFS)
    count = options.whole("particles", particles, at_least=1)
    pomdp_py_module()
    from imm_rl.envs.pomdp_py_tabular import TabularParts  # late: imports pomdp_py

    if initial_state is None:
        rng = np.random.default_rng(options.whole("seed", seed, at_least=0))
        initial_state = int(rng.choice(model.n_states, p=model.initial))
    start = int(options.indices("initial_state", initial_state, model.n_states))
    parts = TabularParts(model)
    held = (
        parts.histogram(model.initial, every_state=True)
        if belief == "histogram"
        else parts.particles(model.initial, count)
    )
    return parts.agent(held), parts.environment(start)


def _checked_agent(problem: Any) -> Any:
    """The agent of a problem, with all that is asked of it."""
    agent = getattr(problem, "agent", problem)
    for name in ("transition_model", "observation_model", "reward_model", "policy_model"):
        if getattr(agent, name, None) is None:
            remedy = (
                "Give a pomdp_py.POMDP or an Agent with transition, observation, reward and policy "
                "models; a black-box model cannot be tabulated"
            )
            raise invalid("problem", f"have a {name}", type(problem).__name__, remedy)
    return agent
