"""Who is watched: from a run folder or a policy file to who acts, where, and who stands beside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from imm_rl.cli import evaluate, evaluate_sb3
from imm_rl.cli.environments import checked_pair, is_tabular, tabular_pair
from imm_rl.cli.names import policy_name
from imm_rl.errors import InvalidInputError
from imm_rl.runs import RunFolder

if TYPE_CHECKING:
    from imm_rl.agents.watching import Moment
    from imm_rl.envs.feature_pair import FeaturePair
    from imm_rl.envs.pair import EnvPair, View

TABULAR_FPS = 4.0


class Watched(NamedTuple):
    """Who acts in which environment, and who would do what beside it.

    Attributes:
        pair: The environment.
        agent: Action probabilities (S, A) at each state; or a policy that acts on what it is shown.
        agent_name: What the pictures call who acts.
        view: What the agent sees, "mdp" or "pomdp".
        restricted: The restricted policy beside it, None where there is none.
        restricted_name: What the pictures call that.
        about: One line that says all this.
    """

    pair: EnvPair | FeaturePair
    agent: Any
    agent_name: str
    view: View
    restricted: Any | None
    restricted_name: str
    about: str

    @property
    def fps(self) -> float:
        """Steps a second, where nobody says otherwise."""
        if is_tabular(self.pair):
            return TABULAR_FPS
        env = self.pair.mdp()
        env.close()
        return float(env.metadata.get("render_fps") or 30.0)

    def action_names(self) -> list[str]:
        """Names of discrete actions, numbers where they have none; nothing of continuous ones.

        What stands before them says that they are actions.
        """
        from gymnasium import spaces

        from imm_rl.envs.pair import EnvPair

        if isinstance(self.pair, EnvPair):
            return list(self.pair.model.action_names)
        space = self.pair.action_space
        if not isinstance(space, spaces.Discrete):
            return []
        return [str(space.start + a) for a in range(int(space.n))]

    def moments(
        self, *, seed: int, episodes: int, steps: int | None, deterministic: bool, pictures: bool
    ) -> Iterator[Moment]:
        """Plays episodes; `pictures`: whether an environment that draws itself is to do so."""
        from imm_rl.agents.watching import tabular_episodes
        from imm_rl.envs.pair import EnvPair

        how: dict[str, Any] = {"seed": seed, "episodes": episodes, "steps": steps}
        how["deterministic"] = deterministic
        if isinstance(self.pair, EnvPair):
            return tabular_episodes(self.pair, self.agent, self.restricted, **how)
        from imm_rl.agents.watching_features import feature_episodes

        return feature_episodes(
            self.pair, self.agent, self.view, self.restricted, pictures=pictures, **how
        )


def find(path: str, env: str | None, restricted: str | None) -> Watched:
    """Who a path means.

    Args:
        path: A run folder, one of its seeds' folders, or a policy file.
        env: Where it acts; None: where it was trained.
        restricted: Who stands beside it, as `imm-rl train --restricted` has it; None: the run's.

    Raises:
        InvalidInputError: An unfinished run, a policy that does not say where it acts, or one for
            another environment.
    """
    from imm_rl.cli.restricted import is_file

    if is_file(path):
        return _restricted_alone(path, env, restricted)
    files = evaluate.model_files(Path(path))
    several = f", {files[0].parent.name} of {len(files)}" if len(files) > 1 else ""
    if evaluate_sb3.is_sb3(files[0]):
        return _sb3(path, files[0], env, restricted, several)
    return _table(path, files[0], env, restricted, several)


def _table(path: str, file: Path, env: str | None, restricted: str | None, several: str) -> Watched:
    """A table of `--agent reinforce`."""
    from imm_rl.agents.state_policy import StatePolicy

    policy = StatePolicy.load(file)
    spec = env or policy.about.get("env")
    if not isinstance(spec, str):
        raise evaluate.unknown_env(path)
    pair = tabular_pair(spec, "a policy of agent reinforce")
    evaluate.check_sizes(path, policy.n_states, policy.n_actions, pair)
    beside, name = _beside(file, pair, restricted)
    return _watched(path, pair, policy.table, "mdp", beside, name, several)


def _sb3(path: str, file: Path, env: str | None, restricted: str | None, several: str) -> Watched:
    """A zip of stable-baselines3, of the full or the restricted view."""
    import numpy as np

    from imm_rl.agents.restricted.sb3_policy import SB3ViewPolicy
    from imm_rl.agents.restricted.view_policy import as_view_policy

    config = evaluate.run_config(file)
    spec = env or config.get("env")
    if not isinstance(spec, str):
        raise evaluate.unknown_env(path)
    pair = checked_pair(spec)
    loaded: Any = SB3ViewPolicy.load(file)
    view = evaluate_sb3.trained_view(path, loaded.policy, pair, config.get("view"))
    shown = pair.mdp() if view == "mdp" else pair.pomdp()
    shown.close()
    agent: Any = as_view_policy(loaded, shown.observation_space, shown.action_space)
    agent.view_space = shown.observation_space  # SB3 has put the channels of images first
    if is_tabular(pair) and view == "mdp":
        states = np.arange(shown.observation_space.n)[None]  # type: ignore[attr-defined]  # Discrete
        agent = agent.follow(states, np.ones(states.shape, dtype=bool))[0][0]
    beside, name = _beside(file, pair, restricted)
    return _watched(path, pair, agent, view, beside, name, several)


def _restricted_alone(path: str, env: str | None, restricted: str | None) -> Watched:
    """A restricted policy that acts itself, on its own belief."""
    from imm_rl.cli.restricted import from_file

    if not Path(path).is_file():
        raise InvalidInputError(f"there is no policy file {path}.")
    if env is None:
        run = RunFolder.around(path)
        env = None if run is None else run.config().get("env")
    if env is None:
        raise evaluate.unknown_env(path)
    pair = tabular_pair(env, "a policy on beliefs")
    policy = from_file(path, pair)
    beside, name = (None, "none") if restricted is None else _made(restricted, pair)
    return _watched(path, pair, policy, "pomdp", beside, name, "")


def _watched(
    path: str,
    pair: EnvPair | FeaturePair,
    agent: Any,
    view: View,
    beside: Any | None,
    name: str,
    several: str,
) -> Watched:
    sees = "the full view" if view == "mdp" else "the restricted view"
    others = "no restricted policy" if beside is None else f"restricted policy {name}"
    about = f"{path}{several} in {pair.spec or pair.name}, seeing {sees}; beside it {others}"
    who = "agent" if view == "mdp" else "restricted agent"
    return Watched(pair, agent, who, view, beside, name, about)


def _beside(
    file: Path, pair: EnvPair | FeaturePair, restricted: str | None
) -> tuple[Any | None, str]:
    """The restricted policy beside an agent, and its name: the one that is named, else its run's."""
    if restricted is not None:
        return _made(restricted, pair)
    run = RunFolder.around(file)
    if run is None:
        return None, "none"
    config = run.config()
    text, temperature = str(config.get("restricted", "none")), config.get("temperature")
    if text == "none":
        return None, "none"
    from imm_rl.cli import view_restricted

    kept = view_restricted.kept(run)
    if kept is not None:
        return _made(kept, pair, policy_name(text))
    if run.restricted.is_file() and is_tabular(pair):
        return _made(str(run.restricted), pair, policy_name(text))
    return _made(text, pair, temperature=temperature)


def _made(
    text: str, pair: EnvPair | FeaturePair, name: str = "", temperature: float | None = None
) -> tuple[Any | None, str]:
    from imm_rl.cli import restricted, view_restricted
    from imm_rl.envs.pair import EnvPair

    policy: Any
    if isinstance(pair, EnvPair):
        # First, so that a wrong name is refused by all the names there are.
        found = restricted.check(text, pair, temperature)
        policy = restricted.make(text, pair, temperature) if found is None else found
    else:
        if text != "none" and pair.features is None:
            raise InvalidInputError(
                f"restricted policy {text} acts on a restricted view, and {pair.name} has none. Give it "
                f"one, --env '{pair.name}(observe=[0])', or --restricted none."
            )
        policy = view_restricted.make(text, pair)
    return policy, name or policy_name(text)
