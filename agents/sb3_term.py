"""What `sb3.IMMCallback` asks of a matcher: the matching term of an SB3 policy, batch after batch.

`BeliefMatcher` serves tabular pairs, `ViewMatcher` any environment of which some features are hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from imm_rl.agents.sb3_rollout import RolloutReader, Steps


class PolicyTerm(NamedTuple):
    """The matching term at one batch of contexts.

    Attributes:
        loss: (), in nats, with gradients.
        measures: Computes `kl`, `agreement`, `naive_kl`, as far as they are defined, (), detached.
    """

    loss: Tensor
    measures: Callable[[], dict[str, Tensor]]


class Matcher(Protocol):
    """Where a policy is matched."""

    @property
    def ready(self) -> bool:
        """Whether there is a context to match at."""

    @property
    def weight(self) -> float:
        """How much a step's context counts on average: 1 if all count fully."""

    def follow(self, steps: Steps, *, continues: bool) -> None:
        """Takes up a rollout: its contexts are those of the gradients to come.

        Args:
            steps: The rollout.
            continues: Whether it begins where the one that was followed before ended. Otherwise what a
                restricted policy saw of the episodes that are under way is not known.
        """

    def term(self, policy: Any, reader: RolloutReader) -> PolicyTerm | None:
        """The term at a batch of contexts; None where none of them can be matched."""

    def state(self) -> dict[str, np.ndarray]:
        """What going on exactly needs, between two rollouts."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Puts the matcher where `state` says."""
