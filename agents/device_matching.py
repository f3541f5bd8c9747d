"""`DeviceMatchingTerm`: the matching term where rollout, filter and loss are tensors of a device.

The formulas are those of `matching_term`; the contexts come some runs at a time (`device_contexts`). Only
an update that is measured, for a log or for a λ that adapts, makes the host wait.

Index letters: N runs (n of a part), S states, A actions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imm_rl.agents.contexts import GivenTargets
from imm_rl.agents.device_contexts import DeviceContexts, DeviceSource
from imm_rl.agents.device_rollout import DeviceRollout
from imm_rl.agents.matching_term import Found, MatchingTerm, to_numpy
from imm_rl.agents.rollout import BoolArray
from imm_rl.envs.model import FloatArray
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
        for runs, contexts in self.source.parts(
            rollout
        ):  # to the end: then it carries its beliefs on
            whole = runs == slice(0, self._n_runs)
            some = log_probs if whole else log_probs[runs].detach()
            found.append(self._part(some, contexts, looked))
        (first, *others) = found
        if not others:
            return Found(first.loss, first.measures, first.met)
        return _together(log_probs, found)

    def _part(self, log_probs: Tensor, contexts: DeviceContexts, looked: bool) -> _Part:
        """The term of n runs; of log-probabilities without gradients, with its gradient."""
        apart = not log_probs.requires_grad
        if apart:
            log_probs.requires_grad_()
        term = None
        if looked or self._method == "imm":
            term = self._imm.term(lambda _: log_probs, contexts, weights=contexts.weights)
        if term is not None and self._method == "imm":
            loss = term.loss
        else:
            loss = -(self._table(contexts).to(log_probs.dtype) * log_probs).sum(dim=(1, 2))
        measures: dict[str, FloatArray] = {}
        met: BoolArray = np.ones(1, dtype=bool)
        if term is not None and looked:
            met = (contexts.weights > 0.0).any(-1).cpu().numpy()
            measured = self._imm.measures(
                term, contexts.weights, log_probs=log_probs, support_weights=contexts.beliefs
            )
            values = {f"imm/{name}": to_numpy(value) for name, value in measured.items()}
            values["imm/loss"] = to_numpy(loss)
            measures = {name: np.where(met, value, np.nan) for name, value in values.items()}
            weight = to_numpy(contexts.weights.sum(-1)) / contexts.steps
            measures["imm/weight"] = np.broadcast_to(weight, (len(log_probs),)).astype(np.float64)
        if not apart:
            return _Part(loss, None, measures, met)
        (gradient,) = torch.autograd.grad(loss.sum(), log_probs)
        return _Part(loss.detach(), gradient, measures, met)

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


class _Part:
    """The term of some runs: loss (n,), its gradient (n, S, A) where it was taken, measures."""

    def __init__(
        self, loss: Tensor, gradient: Tensor | None, measures: dict[str, FloatArray], met: BoolArray
    ) -> None:
        self.loss, self.gradient, self.measures, self.met = loss, gradient, measures, met


def _together(log_probs: Tensor, parts: list[_Part]) -> Found:
    """All runs' term: its value and its gradient, of parts whose beliefs are no longer held."""
    gradient = torch.cat([part.gradient for part in parts if part.gradient is not None])
    moved = ((log_probs - log_probs.detach()) * gradient).sum(dim=(1, 2))  # 0, with the gradient
    loss = torch.cat([part.loss for part in parts]) + moved
    measures = {
        name: np.concatenate([part.measures[name] for part in parts]) for name in parts[0].measures
    }
    met = np.concatenate([np.broadcast_to(part.met, part.loss.shape) for part in parts])
    return Found(loss, measures, met)
