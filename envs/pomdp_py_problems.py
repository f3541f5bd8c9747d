"""pomdp_py's own problems as pairs, `imm_rl.make("pomdp_py:tiger")`, and anybody else's.

    pomdp_py:tiger                      noise=0.15
    pomdp_py:rocksample(n=4, k=4)       rocks=[(x, y), ...], start=(x, y), half_efficiency_dist=20
    pomdp_py:tag                        pr_stay=0.2, start=(x, y)
    pomdp_py:load_unload
    pomdp_py:my_module:factory          returns a pomdp_py.POMDP or an Agent

All take discount=0.95 and max_steps; what else is given to a factory of one's own is passed on to it.

The tables say what the problems' `sample` does; where their `probability` contradicts it, it is left
aside: load_unload compares states without their load, so that wrong states seem likely; tag lets the
target move to the first of its candidate cells alone, in the order of a Python set (and its `sample`
fails from Python 3.11 on). For tag the rule is therefore written out here, as its documentation has it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from imm_rl.envs import options
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.pomdp_py_models import from_pomdp_py, pomdp_py_module
from imm_rl.errors import InvalidInputError, invalid, unknown_name

PREFIX = "pomdp_py:"

_DEFAULTS: dict[str, Any] = {"discount": 0.95, "max_steps": 50}
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def tiger(*, noise: float = 0.15, discount: float = 0.95, max_steps: int = 50) -> EnvPair:
    """`pomdp_py.problems.tiger`: the same numbers as `imm_rl.make("tiger")`, in sorted order.

    Args:
        noise: Probability of hearing the wrong side.
        discount: γ.
        max_steps: Steps after which an episode is cut.
    """
    problem = _module("tiger.tiger_problem").TigerProblem.create(
        obs_noise=options.probability("noise", noise)
    )
    return _pair("tiger", from_pomdp_py(problem, discount=discount), max_steps)


def rocksample(
    n: int = 4,
    k: int = 4,
    *,
    rocks: Sequence[Sequence[int]] | None = None,
    start: Sequence[int] | None = None,
    half_efficiency_dist: float = 20.0,
    seed: int = 0,
    discount: float = 0.95,
    max_steps: int = 50,
) -> EnvPair:
    """`pomdp_py.problems.rocksample`: every rock is good with probability 1/2, leaving to the right pays.

    Args:
        n: The map is n × n; x counts to the right, y downwards, from 0.
        k: Number of rocks.
        rocks: Their cells; default: drawn, and so is the start.
        start: The rover's first cell; default: drawn on the left edge.
        half_efficiency_dist: Distance at which the sensor's efficiency is half.
        seed: Of what is drawn.
        discount: γ.
        max_steps: Steps after which an episode is cut.
    """
    rs, package = _module("rocksample.rocksample_problem"), pomdp_py_module()
    n, k = options.whole("n", n, at_least=1), options.whole("k", k, at_least=1)
    rng = np.random.default_rng(options.whole("seed", seed, at_least=0))
    rover = (0, int(rng.integers(n))) if start is None else _cell("start", start, n, n)
    if rocks is None:
        free = [(x, y) for x in range(n) for y in range(n) if (x, y) != rover]
        if k > len(free):
            raise invalid("k", f"be at most {len(free)}, one rock a free cell", k)
        places = [free[i] for i in rng.choice(len(free), size=k, replace=False)]
    else:
        places = [_cell("rocks", cell, n, n) for cell in rocks]
        if len(set(places)) != k:
            raise invalid("rocks", f"be {k} different cells", list(rocks))
    states = [rs.State(rover, kinds, False) for kinds in product(("good", "bad"), repeat=k)]
    problem = rs.RockSampleProblem(
        n,
        k,
        states[0],
        {cell: i for i, cell in enumerate(places)},
        package.Histogram(dict.fromkeys(states, 1.0 / len(states))),
        half_efficiency_dist=options.positive("half_efficiency_dist", half_efficiency_dist),
    )
    model = from_pomdp_py(problem, discount=discount, terminal=lambda state: state.terminal)
    return _pair("rocksample", model, max_steps)


def tag(
    *,
    pr_stay: float = 0.2,
    start: Sequence[int] | None = None,
    discount: float = 0.95,
    max_steps: int = 50,
) -> EnvPair:
    """`pomdp_py.problems.tag` on its map of 29 cells: catch a target that runs away.

    The target stays with probability `pr_stay`, and else goes to a cell, each alike, that is farther
    from where the robot was; it stays where there is none, and while the robot tags.

    Args:
        pr_stay: See above.
        start: The robot's first cell (x, y); default: any. The target may be anywhere.
        discount: γ.
        max_steps: Steps after which an episode is cut.
    """
    # Not tag.problem, which wants pygame for its pictures.
    module, package = _module("tag.agent.agent"), pomdp_py_module()
    pr_stay = options.probability("pr_stay", pr_stay)
    worlds = _module("tag.example_worlds")
    grid = _module("tag.models.components.grid_map").GridMap.from_str(worlds.world0[0])
    cells = sorted(grid.free_cells())
    starts = cells if start is None else [_cell("start", start, grid.width, grid.length)]
    if starts[0] not in cells:
        raise invalid("start", "be a free cell of the map", start)
    states = [module.TagState(robot, target, False) for robot in starts for target in cells]
    belief = package.Histogram(dict.fromkeys(states, 1.0 / len(states)))
    agent = module.TagAgent(belief, grid, pr_stay=pr_stay)

    def moved(state: Any, action: Any) -> dict[Any, float]:
        robot = module.TagTransitionModel.if_move_by(grid, state.robot_position, action)
        target = state.target_position
        if isinstance(action, module.TagAction):
            return {module.TagState(robot, target, state.robot_position == target): 1.0}
        cells = [(target[0] + dx, target[1] + dy) for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))]
        now = _squared_distance(state.robot_position, target)
        away = [
            c
            for c in cells
            if grid.valid_pose(c) and _squared_distance(state.robot_position, c) > now
        ]
        stays = pr_stay if away else 1.0
        shares = {module.TagState(robot, c, False): (1.0 - pr_stay) / len(away) for c in away}
        return shares | {module.TagState(robot, target, False): stays}

    model = from_pomdp_py(
        agent, discount=discount, transition=moved, terminal=lambda state: state.target_found
    )
    return _pair("tag", model, max_steps)


def load_unload(*, discount: float = 0.95, max_steps: int = 50) -> EnvPair:
    """`pomdp_py.problems.load_unload`: carry loads along a corridor, seeing its two ends alone.

    The agent starts anywhere, loaded or not, each alike.

    Args:
        discount: γ.
        max_steps: Steps after which an episode is cut.
    """
    lu, package = _module("load_unload.load_unload"), pomdp_py_module()
    last = lu.LOAD_LOCATION
    start: dict[Any, float] = {}
    for x, loaded in product(range(last + 1), (False, True)):
        state = lu.LUState(x, loaded if 0 < x < last else x == last)
        start[state] = start.get(state, 0.0) + 0.5 / (last + 1)
    problem = lu.LoadUnloadProblem(next(iter(start)), package.Histogram(start))
    agent = problem.agent
    model = from_pomdp_py(
        problem,
        discount=discount,
        transition=lambda state, action: {agent.transition_model.sample(state, action): 1.0},
        observation=lambda state, action: {agent.observation_model.sample(state, action): 1.0},
    )
    return _pair("load_unload", model, max_steps)


PROBLEMS: dict[str, Callable[..., EnvPair]] = {
    "load_unload": load_unload,
    "rocksample": rocksample,
    "tag": tag,
    "tiger": tiger,
}


def factory(target: str, imported: Callable[[str], Callable[..., Any]]) -> Callable[..., EnvPair]:
    """The factory of a target that starts with `pomdp_py:`; the registry calls it.

    Args:
        target: `pomdp_py:name` or `pomdp_py:module:factory`.
        imported: From `module:factory` to what it names.

    Raises:
        InvalidInputError: No such problem, or pomdp_py is not installed.
    """
    name = target.removeprefix(PREFIX)
    if ":" in name:
        return _of_user(name, imported(name))
    if name not in PROBLEMS:
        error = unknown_name("problem of pomdp_py", name, PROBLEMS)
        raise InvalidInputError(f"{error} A problem of your own: pomdp_py:module:factory.")
    return PROBLEMS[name]


def _of_user(name: str, make: Callable[..., Any]) -> Callable[..., EnvPair]:
    """A factory of the pair, with the options of `make` and then discount and max_steps."""
    own = inspect.signature(make).parameters

    def build(**given: Any) -> EnvPair:
        pomdp_py_module()
        ours = {key: given.get(key, default) for key, default in _DEFAULTS.items()}
        passed = {k: v for k, v in given.items() if k in own or k not in _DEFAULTS}
        problem = make(**passed)
        if isinstance(problem, EnvPair | TabularPOMDP):
            remedy = f"Leave the prefix out: {name}"
            raise invalid(PREFIX + name, "return a problem of pomdp_py", problem, remedy)
        model = from_pomdp_py(problem, discount=ours["discount"])
        return _pair(name.rpartition(":")[2], model, ours["max_steps"])

    named = [p.replace(kind=p.KEYWORD_ONLY) for p in own.values() if p.kind in _NAMED]
    added = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default)
        for key, default in _DEFAULTS.items()
        if key not in own
    ]
    rest = [p for p in own.values() if p.kind is p.VAR_KEYWORD]
    build.__signature__ = inspect.Signature([*named, *added, *rest])  # type: ignore[attr-defined]
    return build


def _module(name: str) -> Any:
    pomdp_py_module()
    try:
        return importlib.import_module(f"pomdp_py.problems.{name}")
    except ImportError as error:
        raise InvalidInputError(
            f"pomdp_py's problem {name.partition('.')[0]!r} cannot be imported: {error}."
        ) from error


def _pair(name: str, model: TabularPOMDP, max_steps: int) -> EnvPair:
    source = f"pomdp_py, {name}: https://github.com/h2r/pomdp-py"
    return EnvPair(name, model, max_steps=max_steps, source=source)


def _cell(name: str, value: Any, width: int, height: int) -> tuple[int, int]:
    cell = options.indices(name, value, max(width, height))
    if cell.shape != (2,) or cell[0] >= width or cell[1] >= height:
        raise invalid(name, f"be cells (x, y) of the map of {width} × {height}", value)
    return int(cell[0]), int(cell[1])


def _squared_distance(one: tuple[int, int], other: tuple[int, int]) -> int:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
