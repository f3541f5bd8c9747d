"""A program: runs trainings on a device that is not there, whose tensors have shapes and no values.

    python tests/programs/fake_device.py reinforce

PyTorch's fake tensors refuse what mixes tensors of the host and of the device, and what looks at a value,
so that a program that runs through has all its tensors where they belong and makes nobody wait. A build
of PyTorch without CUDA has no fake CUDA device that can differentiate; a backend of our own has. That is
set up for good, hence in a process of its own (`test_fake_device`).

Exit codes: 0; 3 where this PyTorch cannot set up such a device; 1 with a traceback at a fault.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode

DEVICE = "imm_fake:0"


def set_up() -> None:
    """Makes the device known; exits with 3 where that cannot be."""
    # Single numbers of the host keep their values otherwise, and cannot be moved to such a device.
    fake_tensor.CONSTANT_NUMEL_LIMIT = -1
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

        _setup_privateuseone_for_python_backend("imm_fake")
    except (ImportError, RuntimeError, TypeError) as error:
        print(f"no fake device: {error}")
        raise SystemExit(3) from None


def faults() -> None:
    """What a program on this device must not do is refused indeed."""
    one = torch.zeros(3, device=DEVICE, requires_grad=True)
    for fault in (
        lambda: one + torch.zeros(3),
        lambda: float(one.detach().sum()),
        lambda: bool((one > 0).all()),
        lambda: (one > 0).nonzero(),
        lambda: one[one > 0],
        lambda: one.detach().cpu().numpy(),
    ):
        try:
            fault()
        except Exception:  # of many types; each is a refusal
            continue
        raise SystemExit(f"this was not refused: {fault}")
    (one * 2).sum().backward()
    assert one.grad is not None
    assert one.grad.device.type == "imm_fake"


def reinforce() -> None:
    """Three updates of `IMMReinforce`, of each kind of contexts and term."""
    import imm_rl
    from imm_rl.agents import reinforce as module
    from imm_rl.agents.settings import ReinforceSettings

    module.torch_device = lambda _: torch.device(DEVICE)
    torch.nn.Module.to = _moved  # PyTorch's own exchanges tensors in place, which fake ones refuse
    plain = {"restricted": None, "imm_lambda": None}
    for env, options, changes in (
        ("grid(size=3)", plain, {}),
        ("grid(size=3)", {"restricted": "fib", "imm_lambda": [0.5, "linear:1->0@0.5"]}, {}),
        ("grid(size=3)", {"restricted": "fib", "imm_lambda": 0.5, "method": "naive-kl"}, {}),
        ("cheese", {"restricted": "pomdp", "imm_lambda": 1.0}, {"n_envs": 2, "n_steps": 9}),
        ("cheese", {"restricted": "qmdp", "imm_lambda": 1.0, "method": "naive-kl"}, {}),
        ("cheese", {"restricted": "qmdp", "imm_lambda": 1.0, "method": "noising"}, {}),
        ("tmaze", {"restricted": "fib", "imm_lambda": 1.0}, {"entropy_coef": 0.1}),
        ("4x3", {"restricted": "fib", "imm_lambda": 1.0}, {"contexts": "restricted"}),
    ):
        settings = ReinforceSettings().replaced(**changes)
        pair = imm_rl.make(env)
        agent = imm_rl.IMMReinforce(pair, seeds=(0, 1), settings=settings, **options)
        assert agent.on_device, env
        agent._require_good_updates = lambda: None  # what `learn` looks at when it ends
        # Adam's fused step is for devices that PyTorch knows; its plain one counts steps on the host.
        agent.optimizer = torch.optim.SGD(agent.policy.parameters(), 0.1)
        agent.learn(3 * agent.batch_steps, evaluate_at=[])
        for parameter in agent.policy.parameters():
            assert parameter.device.type == "imm_fake"


def _moved(module: Any, device: torch.device) -> Any:
    for part in module.modules():
        for name, parameter in part._parameters.items():
            part._parameters[name] = torch.nn.Parameter(parameter.detach().to(device))
    return module


def losses() -> None:
    """The induced model, the losses and their gradients, for every kind of completions."""
    from imm_rl import induced
    from imm_rl import losses as of
    from imm_rl.matching import InducedModelMatching, SharedSupport

    class Uniform:
        def probs(self, context: torch.Tensor) -> torch.Tensor:
            return torch.full((*context.shape[:-1], 4), 0.25, device=DEVICE)

    log_probs = torch.zeros(2, 5, 4, device=DEVICE, requires_grad=True)
    beliefs = torch.full((2, 3, 5), 0.2, dtype=torch.float64, device=DEVICE)
    weights = torch.ones(2, 3, device=DEVICE)
    target = torch.full((2, 3, 4), 0.25, device=DEVICE)
    found = induced.shared_support(log_probs, beliefs, check=False)
    of.imm_loss(found, target, weights, check=False).sum().backward()
    drawn = torch.zeros(3, 6, 4, device=DEVICE, requires_grad=True)
    log_weights = torch.zeros(3, 6, device=DEVICE)
    of.imm_loss(induced.sampled(drawn, log_weights, check=False), target[0], check=False).backward()
    of.noising_loss(drawn, log_weights, target[0], check=False).backward()
    of.naive_kl_loss(drawn[:, 0], target[0], check=False).backward()
    imm = InducedModelMatching(Uniform(), SharedSupport(), check=False)
    term = imm.term(lambda _: log_probs, beliefs, weights=weights)
    term.loss.sum().backward()
    imm.measures(term, weights, log_probs=log_probs, support_weights=beliefs)


def logistic() -> None:
    """The objective of logistic regression, and steps of its optimiser between two looks."""
    from imm_rl.language import lbfgs
    from imm_rl.language.logistic_batch import Matching, Problems, _Objective

    def on(*shape: int) -> torch.Tensor:
        return torch.zeros(*shape, dtype=torch.float64, device=DEVICE)

    labels = torch.zeros(3, 8, dtype=torch.long, device=DEVICE)
    seen = torch.zeros(3, 2, dtype=torch.bool, device=DEVICE)
    matching = Matching(on(3, 8, 2), on(3), None, on(3, 8, 8), seen)
    for term in (None, matching):
        problems = Problems(on(3, 8, 2), labels, on(3, 8), 2, on(3), term)
        objective = _Objective(problems, check=False)
        values, gradients = lbfgs._evaluated(objective, on(3, 3))
        batch = lbfgs._Batch.at(on(3, 3), values, gradients)
        for _ in range(3):
            batch.advance(objective, ~batch.ended(100, 1e-4))


def masked() -> None:
    """The matching term of masked language models, its batch moved as `Trainer` moves it."""
    import numpy as np
    from accelerate.utils import send_to_device

    from imm_rl.language import ngram_rows
    from imm_rl.language.masked_bigram import MaskedBigram
    from imm_rl.language.masked_collator import Targets
    from imm_rl.language.ngram import KneserNey

    model = KneserNey(2).fit(np.random.default_rng(0).integers(0, 12, 300), vocab_size=12)
    options = ngram_rows.NgramRows.__init__.__kwdefaults__
    for dense_bytes in (ngram_rows.DENSE_BYTES, 0):
        options["dense_bytes"] = dense_bytes
        for kind, width in (("left", 1), ("both", 2)):
            made = Targets(words=torch.zeros(3), contexts=np.full((5, width), 4))
            moved = send_to_device(made, torch.device(DEVICE))
            assert moved["words"].device.type == "imm_fake"
            rows = MaskedBigram(model, [0], kind, DEVICE).probs(moved["contexts"])
            assert rows.shape == (5, 12)
            assert rows.device.type == "imm_fake"


CHECKS: dict[str, Callable[[], None]] = {
    "faults": faults,
    "reinforce": reinforce,
    "losses": losses,
    "logistic": logistic,
    "masked": masked,
}


def main(names: list[str]) -> None:
    """Runs the checks of these names."""
    set_up()
    for name in names:
        with FakeTensorMode():
            CHECKS[name]()
        print(f"{name}: ran through", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # the thread that PyTorch keeps for such a device's gradients cannot be ended
