"""The Gymnasium ids of every registered problem: `imm_rl/Tiger-MDP-v0`, `imm_rl/Tiger-POMDP-v0`.

Gymnasium 1.x loads no plug-ins by itself: `import imm_rl.envs` registers the ids, and so does the form
`gymnasium.make("imm_rl.envs:imm_rl/Tiger-MDP-v0")`, which needs no import. Options of a problem are
keywords of `gymnasium.make`; `gymnasium.make_vec` builds the NumPy vector environment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import gymnasium

from imm_rl.envs import registry

if TYPE_CHECKING:
    from imm_rl.envs.pair import RenderMode, View
    from imm_rl.envs.tabular_env import TabularEnv
    from imm_rl.envs.vector import TabularVectorEnv


NAMESPACE = "imm_rl"


def env_id(name: str, view: View) -> str:
    """The Gymnasium id of a view: "crying-baby", "pomdp" gives imm_rl/CryingBaby-POMDP-v0."""
    parts = re.split(r"[^A-Za-z0-9.]+", name)
    title = "".join(part[:1].upper() + part[1:] for part in parts)
    return f"{NAMESPACE}/{title}-{view.upper()}-v0"


def register_all() -> None:
    """Registers both views of every registered problem; those already there are left alone."""
    for name in registry.names():
        register_pair(name)


def register_pair(name: str) -> None:
    """Registers both views of one problem, by name; nothing is built until `gymnasium.make`."""
    views: tuple[View, ...] = ("mdp", "pomdp")
    for view in views:
        if env_id(name, view) not in gymnasium.registry:
            gymnasium.register(
                env_id(name, view),
                entry_point="imm_rl.envs.gym_ids:make_view",
                vector_entry_point="imm_rl.envs.gym_ids:make_vector_view",
                kwargs={"problem": name, "view": view},
            )


def make_view(
    problem: str, view: View, render_mode: RenderMode | None = None, **options: Any
) -> TabularEnv:
    """What `gymnasium.make` calls."""
    pair = registry.tabular(registry.make(problem, **options))
    return pair.mdp(render_mode) if view == "mdp" else pair.pomdp(render_mode)


def make_vector_view(
    num_envs: int, problem: str, view: View, render_mode: RenderMode | None = None, **options: Any
) -> TabularVectorEnv:
    """What `gymnasium.make_vec` calls."""
    return registry.tabular(registry.make(problem, **options)).vector(num_envs, view, render_mode)
