"""`EnvPair`: one tabular model, two views. Factories make it; training, solving and evaluation use it.

The full view (`"mdp"`) shows the state, the restricted view (`"pomdp"`) the observation. Both draw
from the same model with the same streams, so that the same seed and actions give the same hidden
states and rewards in both.
"""

from __future__ import annotations

import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy.typing as npt

from imm_rl.envs import options, pair_checks
from imm_rl.envs.model import TabularPOMDP
from imm_rl.envs.sampler import Sampler
from imm_rl.errors import unknown_name

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

    from imm_rl.envs.render import Drawing
    from imm_rl.envs.tabular_env import TabularEnv
    from imm_rl.envs.vector import TabularVectorEnv

View: TypeAlias = Literal["mdp", "pomdp"]
RenderMode: TypeAlias = Literal["ansi", "rgb_array"]
VIEWS: tuple[str, ...] = get_args(View)
RENDER_MODES: tuple[str, ...] = get_args(RenderMode)


class EnvPair:
    """A problem as users hold it: a model, what the solver is given, and both views. Read only.

    Attributes:
        name: What the problem is called, e.g. "tiger".
        model: The POMDP that the environments draw from.
        restricted_model: The POMDP that the solver is given and beliefs are filtered by; `model` itself
            unless said otherwise. Another one has the same terminal states, and gives no start,
            transition or observation probability 0 that the model does not.
        max_steps: Steps after which an episode is cut (truncation, not termination).
        observation_beliefs: (O, S) or None. Row o is the belief given the last observation alone,
            for problems whose observation tells all that any history could (the grid: the hidden
            coordinate is uniform whatever was done). Such pairs observe at reset. Tables that are not
            too large are checked by the Bayes filter.
        source: Where the problem comes from.
        spec: The text from which `imm_rl.make` builds this pair again; "" where there is none.
        draw: How a scene is drawn (`imm_rl.envs.render`); None for the generic picture.

    Raises:
        InvalidInputError: The models differ in states, actions or observations, or something does not
            hold that is said above.
    """

    def __init__(
        self,
        name: str,
        model: TabularPOMDP,
        *,
        restricted_model: TabularPOMDP | None = None,
        max_steps: int = 50,
        observation_beliefs: npt.ArrayLike | None = None,
        source: str = "",
        spec: str = "",
        draw: Drawing | None = None,
    ) -> None:
        self.name = name
        self.model = pair_checks.checked_model("model", model)
        self.restricted_model = pair_checks.checked_restricted(model, restricted_model)
        self.max_steps = options.whole("max_steps", max_steps, at_least=1)
        self.observation_beliefs = pair_checks.checked_observation_beliefs(
            model, self.restricted_model, observation_beliefs
        )
        self.source = source
        self.spec = spec
        self.draw = draw

    @cached_property
    def sampler(self) -> Sampler:
        """The tables that environments of this pair draw from; built on first use."""
        return Sampler(self.model)

    @property
    def observes_at_reset(self) -> bool:
        """Whether `reset` of the POMDP view returns an observation of the start state.

        A model says nothing of observations before the first action. Pairs with
        `observation_beliefs` observe the start state; others return the index O, "nothing yet".
        """
        return self.observation_beliefs is not None

    def n_outputs(self, view: View) -> int:
        """Size of the view's Discrete observation space: S, O, or O + 1 with "nothing yet"."""
        if _checked_view(view) == "mdp":
            return self.model.n_states
        return self.model.n_observations + (0 if self.observes_at_reset else 1)

    def mdp(self, render_mode: RenderMode | None = None) -> TabularEnv:
        """A Gymnasium environment that shows the state."""
        from imm_rl.envs.tabular_env import TabularEnv  # late: solvers need no Gymnasium

        return TabularEnv(self, "mdp", render_mode)

    def pomdp(self, render_mode: RenderMode | None = None) -> TabularEnv:
        """A Gymnasium environment that shows the observation; its info tells nothing more."""
        from imm_rl.envs.tabular_env import TabularEnv

        return TabularEnv(self, "pomdp", render_mode)

    def vector(
        self, n: int, view: View = "mdp", render_mode: RenderMode | None = None
    ) -> TabularVectorEnv:
        """A Gymnasium `VectorEnv` that steps n copies in NumPy arrays."""
        from imm_rl.envs.vector import TabularVectorEnv

        return TabularVectorEnv(self, n, view, render_mode)

    def sb3_vector(
        self, n: int, view: View = "mdp", render_mode: RenderMode | None = None
    ) -> VecEnv:
        """A Stable-Baselines3 `VecEnv` of n copies, monitored, so that PPO logs episode returns."""
        from imm_rl.envs import sb3_vector  # late: imports Stable-Baselines3 and torch

        return sb3_vector.monitored(self.vector(n, view, render_mode))

    def with_spec(self, spec: str) -> EnvPair:
        """This pair, remembering the text that makes it again."""
        changed = copy.copy(self)
        changed.spec = spec
        return changed

    def __deepcopy__(self, memo: dict[int, Any]) -> EnvPair:
        # Read only, so one is enough: Gymnasium's wrappers copy an environment's spec, which holds
        # the pair, each time they are asked for it.
        return self

    def __getstate__(self) -> dict[str, Any]:
        # The tables are built again on first use; they can be larger than the model.
        return {key: value for key, value in vars(self).items() if key != "sampler"}

    def __repr__(self) -> str:
        return f"EnvPair({self.spec or self.name!r}, {self.model!r}, max_steps={self.max_steps})"


def _checked_view(view: str) -> str:
    if view not in VIEWS:
        raise unknown_name("view", view, VIEWS)
    return view
