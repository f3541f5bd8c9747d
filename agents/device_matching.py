"""`DeviceMatchingTerm`: the matching term where rollout, filter and loss are tensors of a device.

The formulas are those of `matching_term`; the contexts come some runs at a time (`device_contexts`). Only
an update that is measured, for a log or for a λ that adapts, makes the host wait.

Index letters: N runs (n of a part), S states, A actions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.contexts import GivenTargets
from imm_rl.agents.device_contexts import DeviceContexts, DeviceSource
from imm_rl.agents.device_rollout import DeviceRollout
from imm_rl.agents.matching_term import Found, MatchingTerm
from imm_rl.errors import RunFailedError
from imm_rl.matching import InducedModelMatching, SharedSupport


class DeviceMatchingTerm(MatchingTerm):
    """The term of N runs that train side by side on a device.

    Args:
        host: The same on the host, whose source `source` stands for.
        source: Where the contexts come from.
    """

    def __init__(self, host: MatchingTerm, source: DeviceSource) -> None:
        self._method, self._parameters = host._method, host._parameters
        self._n_runs = host._n_runs
        # Beliefs, targets and weights are made by this program: a look at them would be a wait.
        self._imm = InducedModelMatching(
            GivenTargets(),
            SharedSupport(weights_of=lambda contexts: contexts.support_weights),
            check=False,
        )
        self.source: DeviceSource = source

    def _found(
        self, log_probs: Tensor, rollout: DeviceRollout, *, needed: bool, looked: bool
    ) -> Found | None:
        if not needed:
            self.source.skip(rollout)
            return None
        found: list[_Part] = []
        # To the last part: then the source carries its beliefs on.
        for runs, contexts in self.source.parts(rollout):
            whole = runs == slice(0, self._n_runs)
            some = log_probs if whole else log_probs[runs].detach()
            found.append(self._part(some, contexts, looked))
        (first, *others) = found
        return _together(log_probs, found) if others else first.found

    def _part(self, log_probs: Tensor, contexts: DeviceContexts, looked: bool) -> _Part:
        """The term of n runs; of log-probabilities without gradients, with its gradient."""
        apart = not log_probs.requires_grad
        found = self._at(log_probs.requires_grad_(), contexts, looked=looked)
        if not apart:
            return _Part(found, None)
        (gradient,) = torch.autograd.grad(found.loss.sum(), log_probs)
        return _Part(found._replace(loss=found.loss.detach()), gradient)

    def _by_state(self, log_probs: Tensor, contexts: DeviceContexts) -> Tensor:
        loss: Tensor = -(self._table(contexts).to(log_probs.dtype) * log_probs).sum(dim=(1, 2))
        return loss

    def _table(self, contexts: DeviceContexts) -> Tensor:
        """Target mass on states, (n, S, A), as `by_state.target_table`."""
        if self._method == "naive-kl" and contexts.by_state is not None:
            return contexts.by_state
        mass = contexts.shares().unsqueeze(-1) * contexts.targets  # (n, M, A)
        return contexts.beliefs.transpose(-1, -2) @ mass

    def check(self) -> None:
        """Fails where an observation was impossible; the host waits for the device.

        Raises:
            RunFailedError: See above.
        """
        failed = self.source.failed()
        if failed is not None and bool(failed):
            raise RunFailedError(
                "an observation, or an episode that goes on, is impossible under its belief in the "
                "restricted model. Training with --device cpu says which."
            )


class _Part(NamedTuple):
    """The term of some runs, and its gradient (n, S, A) where it was taken."""

    found: Found
    gradient: Tensor | None


def _together(log_probs: Tensor, parts: list[_Part]) -> Found:
    """All runs' term: its value and its gradient, of parts whose beliefs are no longer held."""
    gradient = torch.cat([part.gradient for part in parts if part.gradient is not None])
    moved = ((log_probs - log_probs.detach()) * gradient).sum(dim=(1, 2))  # 0, with the gradient
    found = [part.found for part in parts]
    loss = torch.cat([each.loss for each in found]) + moved
    measures = {
        name: np.concatenate([each.measures[name] for each in found]) for name in found[0].measures
    }
    met = np.concatenate([np.broadcast_to(each.met, each.loss.shape) for each in found])
    return Found(loss, measures, met)
