"""`RestrictedRolloutContexts`: matching at the beliefs that the restricted policy itself meets.

The setting `contexts: restricted` names it; `contexts.make_source` makes it.

Index letters: N runs, M beliefs, R rows, S states, A actions.
"""

from __future__ import annotations

import numpy as np

from imm_rl.agents.context_weights import Weigh
from imm_rl.agents.contexts import Contexts
from imm_rl.agents.restricted.asking import probs_at, restricted_episodes
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.rollout import Rollout
from imm_rl.agents.streams import generator
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.envs.pair import EnvPair
from imm_rl.envs.sampler import IntArray
from imm_rl.envs.sparse_belief import stacked


class RestrictedRolloutContexts:
    """Beliefs that the restricted policy meets when it acts itself, drawn once from the model.

    They cost no step of the environment and are the same for every run and update. Equal beliefs are
    merged, so that small problems have few.
    """

    EPISODES = 64
    MOST = 512

    def __init__(self, pair: EnvPair, policy: RestrictedPolicy, weigh: Weigh) -> None:
        rng = generator(0, "restricted")
        played = restricted_episodes(
            pair, policy, episodes=self.EPISODES, n_steps=pair.max_steps, rng=rng
        )
        beliefs, counts = _most_met([moment.beliefs for moment in played], self.MOST)
        targets = probs_at(policy, beliefs)
        weights = counts * weigh(beliefs, targets)
        self._contexts = Contexts(beliefs, targets, weights[None, :], int(counts.sum()))

    def contexts(self, rollout: Rollout | None) -> Contexts:  # noqa: ARG002  the protocol's argument
        """The same beliefs and weights at every update."""
        return self._contexts

    def restart(self) -> None:
        """Nothing: the beliefs are those of the policy's own rollouts."""

    def state(self) -> dict[str, np.ndarray]:
        """Nothing: the beliefs are a function of pair and policy."""
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Nothing to put back."""


def _most_met(met: list[Beliefs], most: int) -> tuple[Beliefs, IntArray]:
    """Those beliefs (M, S) met most often, and how often each, of lists of rows (R, S).

    Beliefs that differ by rounding are one.
    """
    if all(isinstance(beliefs, np.ndarray) for beliefs in met):
        dense: list[FloatArray] = met  # type: ignore[assignment]  # all are arrays
        rounded = np.concatenate([beliefs.round(6) for beliefs in dense])
        unique, counts = np.unique(rounded, axis=0, return_counts=True)
        first = np.argsort(-counts, kind="stable")[:most]
        return unique[first] / unique[first].sum(axis=1, keepdims=True), counts[first]
    rows = stacked(met)
    numbers: dict[bytes, int] = {}
    rounded = rows.data.round(6)
    spans = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    kinds = np.array(
        [
            numbers.setdefault(rows.indices[i:j].tobytes() + rounded[i:j].tobytes(), len(numbers))
            for i, j in spans
        ]
    )
    _, place, counts = np.unique(kinds, return_index=True, return_counts=True)
    first = np.argsort(-counts, kind="stable")[:most]
    return rows[place[first]], counts[first]
