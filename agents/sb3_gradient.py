"""`TermGradient`: the gradient of the matching term, held for some steps of an optimizer.

`sb3.IMMCallback` computes it, measures it against the algorithm's own gradient, and adds λ times it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from imm_rl.agents.sb3_policies import evaluation_mode
from imm_rl.agents.sb3_term import PolicyTerm
from imm_rl.errors import DivergedError


class TermGradient:
    """One gradient, used for `refresh` steps before it is computed anew.

    Attributes:
        pairs: Each parameter that the term reaches, with its gradient of the term, not scaled by λ.

    Args:
        refresh: Steps of the optimizer.
    """

    def __init__(self, refresh: int) -> None:
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._refresh = refresh
        self._age: int | None = None
        self._failed: torch.Tensor | None = (
            None  # (), whether a gradient that was added was not finite
        )
        self._finite: torch.Tensor | None = None

    @property
    def dropped(self) -> bool:
        """Whether there is none: a rollout has just been collected."""
        return self._age is None

    @property
    def due(self) -> bool:
        """Whether it is to be computed anew."""
        return self._age is None or self._age >= self._refresh

    def drop(self) -> None:
        """Forgets it."""
        self.pairs, self._age = [], None

    def renew(
        self,
        policy: Any,
        optimizer: torch.optim.Optimizer,
        term_of: Callable[[], PolicyTerm | None],
        limit: float | None,
    ) -> PolicyTerm | None:
        """Computes it, and leaves the parameters' `.grad` alone.

        Args:
            policy: The trained policy; it is looked at in evaluation mode.
            optimizer: Of its parameters.
            term_of: The term, with gradients.
            limit: The largest norm, over all parameters together; None for any.
        """
        parameters = [p for g in optimizer.param_groups for p in g["params"] if p.requires_grad]
        self.pairs, self._age, self._finite = [], 0, None
        with evaluation_mode(policy), torch.enable_grad():
            term = term_of()
            if term is None:
                return None
            found: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
                term.loss, parameters, allow_unused=True
            )
        held = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
        norm = torch.nn.utils.get_total_norm([g for _, g in held])
        if limit is not None:
            # As the algorithm clips its own: a few large gradients at the start would else fill Adam's
            # second moments and slow down everything after them.
            scale = torch.clamp(limit / (norm + 1e-6), max=1.0)  # as torch's clip_grad_norm_
            held = [(p, g * scale) for p, g in held]
        # Nobody looks at it now, which would be a wait for the device at each gradient; what is not
        # finite is left out, and told by `check`.
        self._finite = norm.isfinite()
        self.pairs = [(p, torch.where(self._finite, g, 0.0)) for p, g in held]
        return term

    def add(self, weight: float) -> None:
        """Adds weight times it to the parameters' `.grad`; at 0 they stay bit for bit what they are."""
        if self._age == 0 and weight and self._finite is not None:
            bad = ~self._finite
            self._failed = bad if self._failed is None else self._failed | bad
        self._age = (self._age or 0) + 1
        if not weight:
            return
        for parameter, gradient in self.pairs:
            if parameter.grad is None:
                parameter.grad = weight * gradient
            else:
                parameter.grad.add_(gradient, alpha=weight)

    def check(self, env_steps: int | None = None) -> None:
        """Looks at the gradients added since the last look; waits for the device, so once a rollout.

        Args:
            env_steps: How many the agent has taken, for the error.

        Raises:
            DivergedError: One was not finite.
        """
        failed, self._failed = self._failed, None
        if failed is not None and bool(failed):
            when = "" if env_steps is None else f" after {env_steps} environment steps"
            raise DivergedError(
                f"the gradient of the matching term is not finite{when}; a smaller learning rate or λ "
                "may help.",
                env_steps,
            )
