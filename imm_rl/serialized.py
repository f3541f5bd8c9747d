"""Algorithm 2: the gradient of the sampled IMM term, in memory independent of the completions.

With a_j(y) = w_j q_j(y) / Σ_i w_i q_i(y) held constant,

    ∇ [ −Σ_y P̂(y) log Σ_j w_j q_j(y) ]  =  Σ_j ∇ [ −Σ_y P̂(y) a_j(y) log q_j(y) ].

A first pass without gradients gives the sum over all completions, a second pass takes `chunk` of
them at a time, forwards and backwards. `losses` re-exports it; `matching` calls it for language
models.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from imm_rl import checks
from imm_rl.cross_entropy import check_target, cross_entropy, item_shares
from imm_rl.errors import invalid


def serialized_backward(
    log_prob_fn: Callable[[torch.Tensor], torch.Tensor],
    contexts: torch.Tensor,
    log_weights: torch.Tensor,
    target_probs: torch.Tensor,
    *,
    scale: float = 1.0,
    chunk: int = 1,
    weights: torch.Tensor | None = None,
    check: bool = True,
) -> torch.Tensor:
    """Adds the gradient of scale · imm_loss(sampled(...)) to the parameters' `.grad`.

    `log_prob_fn` is called 2·⌈K/chunk⌉ times and never sees more than N·chunk full contexts. Each
    pass draws the same random numbers (dropout masks), so both see the same model; other state that
    a call changes, such as the running means of batch normalisation, is the caller's to freeze.

    Args:
        log_prob_fn: Maps contexts (N, c, ...) to log Q(y|x), (N, c, Y) in nats, with gradients.
        contexts: (N, K, ...), the K completions of each of N restricted contexts, of any dtype.
        log_weights: (N, K), unnormalised log-weights of the completions, as in `induced.sampled`.
        target_probs: (N, Y), P̂(y|x̄) of the restricted model; rows sum to 1.
        scale: What the loss is multiplied by before its gradient is taken (λ). At 0 the second pass
            is left out and every `.grad` stays as it is.
        chunk: How many completions are alive at a time, at least 1.
        weights: (N,), at least 0; equal where not given.
        check: Checks the values of all weights and targets, which makes the host wait for the
            device.

    Returns:
        The loss, a scalar in nats, detached and not scaled.

    Raises:
        InvalidInputError: A rank, shape, dtype or value is wrong, or `log_prob_fn` returns a wrong
            shape or a tensor without gradients.
    """
    checks.whole("chunk", chunk)
    checks.ranked("contexts", contexts, "(N, K, ...)", 2)
    items, completions = contexts.shape[:2]
    checks.shaped("log_weights", log_weights, "(N, K)", (), (items, completions))
    if check:
        checks.log_weights("log_weights", log_weights)
    checks.floats("target_probs", target_probs, "(N, Y)")
    targets = target_probs.shape[-1]
    check_target("target_probs", target_probs, (), (items, targets), check=check)

    # float64 until the dtype of the model is known; both are small beside the log-probabilities.
    log_shares = log_weights.detach().double().log_softmax(-1)
    target_probs = target_probs.double()
    shares = item_shares(target_probs, weights, (), items, check=check).unsqueeze(-1)

    def forward(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One chunk: log q_j (N, c, Y), and log (w_j q_j) detached."""
        part = contexts[:, start : start + chunk]
        log_probs = log_prob_fn(part)
        own = (items, part.shape[1], targets)
        checks.shaped("log_prob_fn(contexts)", log_probs, "(N, c, Y)", (), own)
        part_shares = log_shares[:, start : start + chunk, None].to(log_probs)
        return log_probs, log_probs.detach() + part_shares

    # On leaving the block the generators are set back, so that the second pass draws the same.
    with torch.no_grad(), torch.random.fork_rng(_cuda_devices(contexts.device)):
        induced = forward(0)[1].logsumexp(1)
        for start in range(chunk, completions, chunk):
            induced = torch.logaddexp(induced, forward(start)[1].logsumexp(1))

    joint = (shares * target_probs).to(induced)
    # Where Q̄(y) = 0 every w_j q_j(y) is 0 too; a finite floor makes a_j 0 there and not NaN.
    floored = induced.clamp_min(torch.finfo(induced.dtype).min).unsqueeze(1)

    def accumulate(start: int) -> None:
        """Backwards through one chunk; on return nothing of it is alive."""
        log_probs, terms = forward(start)
        if not log_probs.requires_grad:
            raise invalid("log_prob_fn", "return a tensor with gradients", "one without")
        assigned = (terms - floored).exp()
        part = cross_entropy(log_probs, joint.unsqueeze(1) * assigned, 3)
        torch.autograd.backward(scale * part)

    if scale != 0:
        for start in range(0, completions, chunk):
            accumulate(start)
    return cross_entropy(induced, joint, 2)


def _cuda_devices(device: torch.device) -> list[torch.device]:
    """The CUDA devices whose generators `log_prob_fn` draws from, given that of the contexts.

    Contexts on the CPU may be moved by `log_prob_fn` to the current device, where CUDA is in use.
    """
    if device.type == "cuda":
        return [device]
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return [torch.device("cuda", torch.cuda.current_device())]
    return []
