"""What TensorBoard shows of the matching term in an SB3 training; `sb3.IMMCallback` records it."""

from __future__ import annotations

import torch

from imm_rl.agents.sb3_term import PolicyTerm


@torch.no_grad()
def measured(
    term: PolicyTerm, gradients: list[tuple[torch.Tensor, torch.Tensor]]
) -> dict[str, float]:
    """The term's value and distances, and how its gradient lies to the algorithm's own.

    Args:
        term: At a batch of contexts.
        gradients: Each parameter that the term reaches, with its gradient of the term, not scaled by λ;
            the parameter's `.grad` is the algorithm's own, after its clipping.

    Returns:
        `loss`, `kl`, `naive_kl`, `agreement` as far as the term has them, in nats; `grad_cosine`, the
        cosine between the two gradients over these parameters; `norm` and `main_norm`, their lengths.
    """
    values = {"loss": float(term.loss)}
    values |= {name: float(value) for name, value in term.measures().items()}
    dot = own = main = 0.0
    for parameter, gradient in gradients:
        own += float(gradient.double().square().sum())
        if parameter.grad is not None:
            main += float(parameter.grad.double().square().sum())
            dot += float((parameter.grad.double() * gradient).sum())
    norm, main_norm = own**0.5, main**0.5
    cosine = dot / (norm * main_norm) if norm and main_norm else 0.0
    return values | {"grad_cosine": cosine, "norm": norm, "main_norm": main_norm}
