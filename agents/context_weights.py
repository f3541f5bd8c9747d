"""How much each belief counts in the matching term; the setting `context_weight` names one of these.

Where the restricted policy acts only to learn what it cannot see, an agent that sees should not follow
it: in tiger an uncertain belief says "listen". Matching there is a bias. The weights here leave such
beliefs out, as far as the restricted policy itself can tell; `docs/defaults.md` has their measured
effect.

Index letters: M beliefs (leading axes allowed), S states, A actions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from imm_rl.agents.restricted.asking import acts_on_observation, is_view_policy, told
from imm_rl.agents.restricted.base import RestrictedPolicy
from imm_rl.agents.settings import CONTEXT_WEIGHTS
from imm_rl.envs.belief_filter import Beliefs
from imm_rl.envs.model import FloatArray
from imm_rl.errors import unknown_name

if TYPE_CHECKING:
    import torch

Weigh = Callable[[Beliefs, FloatArray], FloatArray]
"""Maps beliefs (…, S), or CSR (M, S), and the policy's probabilities there (…, A) to weights (…) ≥ 0."""

TensorWeigh = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""The same of tensors."""


def weight_name(name: str | None, policy: Any) -> str:
    """The setting `context_weight`; None: `informed` for a policy on beliefs, else `uniform`."""
    if name is not None:
        return name
    return "uniform" if acts_on_observation(policy) or is_view_policy(policy) else "informed"


def weighing(name: str, policy: RestrictedPolicy) -> Weigh:
    """The weight function of this name for this restricted policy.

    `uniform`: every belief counts the same (the paper's form). `certainty`: see `certainty`.
    `informed`: the probability that the policy would do the same if it were told the state,
    Σ_s b(s) Σ_a P̂(a|b) P̂(a|δ_s), δ_s the belief that is sure of s.

    Raises:
        InvalidInputError: No such name, or the policy cannot be told a state.
    """
    if name == "uniform":
        return lambda beliefs, _: np.ones(beliefs.shape[:-1])
    if name == "certainty":
        return lambda beliefs, _: certainty(beliefs)
    if name == "informed":
        if_told = told(policy)  # (S, A)
        return lambda beliefs, targets: (targets * (beliefs @ if_told)).sum(axis=-1)
    raise unknown_name("context_weight", name, CONTEXT_WEIGHTS)


def certainty(beliefs: Beliefs) -> FloatArray:
    """1 − H(b)/log S for beliefs (…, S): 0 where all states are alike, 1 where one is certain."""
    n_states = beliefs.shape[-1]
    if n_states == 1:
        return np.ones(beliefs.shape[:-1])
    if not isinstance(beliefs, np.ndarray):
        terms = beliefs.copy()
        terms.data = beliefs.data * np.log(beliefs.data)
        negative_entropy: FloatArray = terms @ np.ones(n_states)
        found: FloatArray = np.maximum(1.0 + negative_entropy / np.log(n_states), 0.0)
        return found
    logs = np.log(beliefs, where=beliefs > 0.0, out=np.zeros_like(beliefs))
    # Rounding may leave a uniform belief at −1e-17, and a negative weight is refused further on.
    weights: FloatArray = np.maximum(1.0 + (beliefs * logs).sum(axis=-1) / np.log(n_states), 0.0)
    return weights


def tensor_weighing(name: str, policy: RestrictedPolicy, device: torch.device) -> TensorWeigh:
    """`weighing` for dense beliefs that are tensors of a device.

    Raises:
        InvalidInputError: As `weighing`.
    """
    import torch

    if name == "uniform":
        return lambda beliefs, _: torch.ones_like(beliefs[..., 0])
    if name == "certainty":
        return lambda beliefs, _: _tensor_certainty(beliefs)
    if name == "informed":
        if_told = torch.from_numpy(np.array(told(policy))).to(device)  # (S, A)
        return lambda beliefs, targets: torch.sum(targets * (beliefs @ if_told), -1)
    raise unknown_name("context_weight", name, CONTEXT_WEIGHTS)


def _tensor_certainty(beliefs: torch.Tensor) -> torch.Tensor:
    """As `certainty`."""
    import torch

    n_states = beliefs.shape[-1]
    if n_states == 1:
        return torch.ones_like(beliefs[..., 0])
    entropy = torch.special.entr(beliefs).sum(-1)
    weights: torch.Tensor = (1.0 - entropy / float(np.log(n_states))).clamp_min(0.0)
    return weights
