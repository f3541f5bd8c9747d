"""The paper's toy: points of a cube, labelled by a plane, and who sees only the first coordinate.

x is uniform on [−1, 1]³ and y = 1 where x1 + x2 + x3 > 0. The restricted model sees x1 alone and knows
P(y=1|x1) = 1 − F(−x1), F the distribution function of the sum of two uniform numbers on [−1, 1]:
(c + 2)²/8 for c ≤ 0 and 1 − (2 − c)²/8 above.

Index letters: R runs, N rows. Everything is float64. Source: Muneeb and Ohannessian, NeurIPS 2024 (arXiv
2402.12513), section on logistic regression; the formula is worked out here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch

from imm_rl.errors import unknown_name
from imm_rl.language.logistic_batch import Fitted

N_FEATURES = 3
SEEN = (True, False, False)
"""Which features the restricted model sees."""

QUALITIES: Mapping[str, int | None] = MappingProxyType({"high": None, "medium": 4, "low": 2})
"""Restricted models: into how many equal bins x1 is sorted before P̂ is read off (None: exact).

All of them are calibrated; the coarser ones know less. "low" says 17/24 or 7/24 by the sign of x1.
"""

_GRID = 60
"""Midpoints along each axis where the induced model is integrated."""


def sample(
    runs: int, rows: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws points (R, N, 3) and their labels (R, N); drawn on the CPU, the same on every device."""
    drawn = torch.rand(runs, rows, N_FEATURES, generator=generator, dtype=torch.float64)
    points = (2 * drawn - 1).to(device)
    return points, (points.sum(-1) > 0).long()


def restricted_probs(first: torch.Tensor, quality: str = "high") -> torch.Tensor:
    """P̂(y|x1), (..., 2), of a restricted model in `QUALITIES`, at x1 (...).

    Raises:
        InvalidInputError: An unknown quality.
    """
    if quality not in QUALITIES:
        raise unknown_name("quality", quality, QUALITIES)
    bins = QUALITIES[quality]
    if bins is None:
        positive = 1 - _two_uniforms(-first)
    else:
        width = 2 / bins
        low = ((first + 1) / width).floor().clamp(0, bins - 1) * width - 1
        # The mean of 1 − F(−x) over [a, b] is ∫ F over [a, b] / (b − a), since 1 − F(−x) = F(x).
        positive = (_integral(low + width) - _integral(low)) / width
    return torch.stack([1 - positive, positive], -1)


def accuracy(fitted: Fitted, points: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of test points that each of R models gets right, (R,).

    Args:
        fitted: R models.
        points: (N, 3).
        labels: (N,).
    """
    return mixed_accuracy(fitted, points, labels, None, None)


def mixed_accuracy(
    fitted: Fitted,
    points: torch.Tensor,
    labels: torch.Tensor,
    restricted: torch.Tensor | None,
    ratios: torch.Tensor | None,
) -> torch.Tensor:
    """As `accuracy`, of the interpolation (1 − r)·Q + r·P̂, by ratio r (R,) and P̂ (N, 2)."""
    found = []
    logits_of = torch.cat([fitted.coefficients[:, 0], fitted.intercepts], 1)
    for start in range(0, len(logits_of), 256):
        part = logits_of[start : start + 256]
        positive = torch.addmm(part[:, 3:], part[:, :3], points.T)
        if restricted is not None and ratios is not None:
            ratio = ratios[start : start + len(part), None]
            positive = (1 - ratio) * positive.sigmoid() + ratio * restricted[:, 1] - 0.5
        found.append(((positive > 0) == (labels == 1)).double().mean(1))
    return torch.cat(found)


def induced_score(fitted: Fitted) -> tuple[torch.Tensor, torch.Tensor]:
    """How well each model's induced model does at the restricted task, with π(x2, x3|x1) uniform.

    Returns:
        Cross-entropy E[−Σ_y P(y|x1) log Q̄(y|x1)] in nats, (R,); and the accuracy of the class that Q̄ holds
        for likelier, (R,). The best possible are those of P itself.
    """
    axis = _axis(fitted.coefficients.device)
    truth = restricted_probs(axis)
    # A logit is w1·x1 + b plus w2·x2 + w3·x3: (R, G, 1) and (R, 1, G²).
    hidden = torch.cartesian_prod(axis, axis)
    losses, shares = [], []
    for start in range(0, len(fitted.coefficients), 16):
        slopes = fitted.coefficients[start : start + 16]
        intercepts = fitted.intercepts[start : start + 16]
        seen = slopes[:, 0, :1, None] * axis[:, None] + intercepts[:, :, None]
        lent = (slopes[:, 0, 1:] @ hidden.T).unsqueeze(1)
        positive = (seen + lent).sigmoid().mean(2).clamp(1e-300, 1 - 1e-16)
        losses.append(-(truth[:, 1] * positive.log() + truth[:, 0] * (1 - positive).log()).mean(1))
        shares.append(torch.where(positive > 0.5, truth[:, 1], truth[:, 0]).mean(1))
    return torch.cat(losses), torch.cat(shares)


def restricted_score(quality: str = "high") -> tuple[float, float]:
    """As `induced_score`, of a restricted model itself; "high" is the best possible."""
    axis = _axis("cpu")
    truth, said = restricted_probs(axis), restricted_probs(axis, quality)
    loss = -(truth * said.clamp_min(1e-300).log()).sum(1).mean()
    share = truth.gather(1, said.argmax(1, keepdim=True)).mean()
    return float(loss), float(share)


def _axis(device: torch.device | str) -> torch.Tensor:
    """The midpoints of `_GRID` equal parts of [−1, 1]."""
    return (torch.arange(_GRID, dtype=torch.float64, device=device) + 0.5) * 2 / _GRID - 1


def _two_uniforms(c: torch.Tensor) -> torch.Tensor:
    """F(c) of the sum of two uniform numbers on [−1, 1], c in [−2, 2]."""
    return torch.where(c <= 0, (c + 2) ** 2 / 8, 1 - (2 - c) ** 2 / 8)


def _integral(c: torch.Tensor) -> torch.Tensor:
    """∫ F from −2 to c."""
    return torch.where(c <= 0, (c + 2) ** 3 / 24, c + (2 - c) ** 3 / 24)
