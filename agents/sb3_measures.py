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
    found = {"loss": term.loss, **term.measures()}
    dot = own = main = torch.zeros((), dtype=torch.float64, device=term.loss.device)
    for parameter, gradient in gradients:
        own = own + gradient.double().square().sum()
        if parameter.grad is not None:
            main = main + parameter.grad.double().square().sum()
            dot = dot + (parameter.grad.double() * gradient).sum()
    # All numbers at once: each look at one would be a wait for the device of its own.
    scalars = [value.double() for value in (*found.values(), own, main, dot)]
    *named, squared, main_squared, inner = torch.stack(scalars).tolist()
    values = dict(zip(found, named, strict=True))
    norm, main_norm = squared**0.5, main_squared**0.5
    cosine = inner / (norm * main_norm) if norm and main_norm else 0.0
    return values | {"grad_cosine": cosine, "norm": norm, "main_norm": main_norm}
