"""To be run once by whoever has a GPU: whether it gives the CPU's numbers, how fast, in how much memory.

    python scripts/gpu_check.py                          # some minutes on a GPU
    python scripts/gpu_check.py --device cpu --small     # the same program, small, without one

1. CPU and device give the same losses to 1e-4 over 50 updates, in float32 with TF32 off: language models,
   REINFORCE with IMM, logistic regression (in float64). A model that this version does not know is skipped.
2. 4,096 trainings of the paper's grid at once: wall time and memory.
3. The paper's LSTM, 2 layers of 1,500, batch 20 x 35, on a made-up text of Penn Treebank's size and
   vocabulary: words a second and memory, plain, `batch`, `sampled` with k = 10.
4. `serialized` with k = 100 against `sampled` with k = 10: memory of an update.

Exit code 1 if a number of the first part differs by more than 1e-4.
"""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

import device_limits
import numpy as np
import torch

import imm_rl
from imm_rl.agents import paper
from imm_rl.agents.settings import ReinforceSettings
from imm_rl.language.corpus import Corpus
from imm_rl.language.lm_settings import MODELS, LMSettings
from imm_rl.language.lm_training import LMTrainer
from imm_rl.language.logistic_batch import Matching, Problems, fit
from imm_rl.language.ngram import KneserNey
from imm_rl.language.vocabulary import Vocabulary
from imm_rl.schedules import parse

TOLERANCE = 1e-4


def made_up(vocabulary: int, sizes: tuple[int, int, int], seed: int = 0) -> Corpus:
    """A text of random words: the next one depends on the last one's class, and is Zipf's otherwise."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, vocabulary - 1)
    cumulative = np.cumsum(weights / weights.sum())
    parts = []
    for size in sizes:
        drawn = np.searchsorted(cumulative, rng.random(size))
        followed = (drawn + 7 * np.roll(drawn, 1)) % (vocabulary - 2)
        words = np.where(rng.random(size) < 0.3, followed, np.minimum(drawn, vocabulary - 3))
        parts.append(words.astype(np.int64) + 2)
    names = ("<unk>", "<eos>", *(f"w{i}" for i in range(vocabulary - 2)))
    return Corpus("made-up", Vocabulary(names), *parts)


def trainer_of(corpus: Corpus, ngram: Any, device: str, method: str, **settings: Any) -> LMTrainer:
    chosen = LMSettings(**{"epochs": 100, "start": "epoch:0", **settings})
    needed = ngram if method != "none" else None
    return LMTrainer(corpus, chosen, method, parse(0.25), needed, device=device)


def lm_losses(trainer: LMTrainer, updates: int) -> np.ndarray:
    """The mean loss of each of the first updates, nats."""
    sums: list[float] = []

    def after(trainer: LMTrainer, _: Any) -> bool:
        sums.append(float(trainer.gradients.sums.loss))
        # Each by itself: a long sum in float32 is rounded too much.
        trainer.gradients.sums.loss = 0.0
        return len(sums) < updates

    trainer.train(after)
    return np.array(sums) / trainer.settings.update_words


def small_text() -> tuple[Corpus, KneserNey]:
    """What `small_trainer` trains on, and its bigram."""
    corpus = made_up(400, (60_000, 2_000, 2_000))
    return corpus, KneserNey(2).fit(corpus.train, vocab_size=400)


def small_trainer(corpus: Corpus, ngram: Any, device: str, method: str, model: str) -> LMTrainer:
    """One whose first 50 updates amplify differences of rounding little: small steps of SGD."""
    return trainer_of(
        *(corpus, ngram, device, method),
        model=model,
        hidden_size=64,
        dropout=0.0,
        optimizer="sgd",
        learning_rate=1.0,
        batch_size=20,
    )


def compare_language(device: str) -> dict[str, float]:
    """The largest difference of an update's loss, by model."""
    corpus, ngram = small_text()
    found = {}
    for model in ("lstm", "transformer"):
        if model not in MODELS:
            print(f"{model}: this version has no such model, skipped")
            continue
        for method in ("none", "batch"):
            losses = [
                lm_losses(small_trainer(corpus, ngram, d, method, model), 50)
                for d in ("cpu", device)
            ]
            found[f"{model}, {method}"] = float(np.abs(losses[0] - losses[1]).max())
    return found


def compare_reinforce(device: str) -> dict[str, float]:
    """The largest difference of an action's probability after 50 updates: none, imm."""
    pair = imm_rl.make("grid")
    policy = paper.restricted_policies(pair)["imm_argmax"]
    found = {}
    for name, restricted, weight in (("none", None, None), ("imm", policy, 0.25)):
        tables = []
        for d, on_device in (("cpu", False), (device, True)):
            settings = ReinforceSettings.preset("paper")
            agent = imm_rl.IMMReinforce(
                pair, restricted, weight, range(8), settings, d, on_device=on_device
            )
            agent.learn(50 * agent.batch_steps, evaluate_at=[])
            tables.append(agent.action_probs())
        found[f"IMMReinforce, {name}"] = float(np.abs(tables[0] - tables[1]).max())
    return found


def compare_logistic(device: str) -> dict[str, float]:
    """The largest difference of a coefficient: 20 problems of 30 rows, without a term and with it."""
    generator = torch.Generator().manual_seed(0)
    features = 2 * torch.rand(20, 30, 3, generator=generator, dtype=torch.float64) - 1
    labels = (features.sum(-1) > 0).long()
    target = torch.stack([1 - features[..., 0].sigmoid(), features[..., 0].sigmoid()], -1)
    seen = torch.tensor([True, False, False]).expand(20, -1)
    ones, zeros = torch.ones(20, 30, dtype=torch.float64), torch.zeros(20, 30, 30)
    found = {}
    for name in ("none", "imm"):
        fitted = []
        for d in ("cpu", device):
            term = None
            if name == "imm":
                weight = torch.ones(20, dtype=torch.float64)
                parts = (part.to(d) for part in (target, weight))
                term = Matching(*parts, None, zeros.double().to(d), seen.to(d))
            ridge = torch.full((20,), 1e-2, dtype=torch.float64)
            moved = (part.to(d) for part in (features, labels, ones))
            fitted.append(fit(Problems(*moved, 2, ridge.to(d), term), tol=1e-8).coefficients.cpu())
        found[f"logistic regression, {name}"] = float((fitted[0] - fitted[1]).abs().max())
    return found


def grid(device: str, trainings: int, updates: int) -> None:
    """Wall time and memory of many trainings at once."""
    pair = imm_rl.make("grid")
    policy = paper.restricted_policies(pair)["imm_argmax"]
    place = torch.device(device)
    held = device_limits.start_peak(place)
    settings = ReinforceSettings.preset("paper")
    agent = imm_rl.IMMReinforce(
        pair, policy, 0.25, range(trainings), settings, device, on_device=True
    )
    steps = agent.batch_steps
    agent.learn(steps, evaluate_at=[])
    start = time.perf_counter()
    agent.learn((1 + updates) * steps, evaluate_at=[])
    trained = time.perf_counter() - start
    agent.learn((2 + updates) * steps)
    whole = time.perf_counter() - start
    speed = trainings * updates * steps / trained
    memory = (device_limits.peak_bytes(place) - held) / 2**20
    print(
        f"{trainings:,} trainings of the grid at once, {updates} updates: {trained:.1f} s "
        f"({speed:,.0f} environment steps/s), {whole - trained:.1f} s for an update with its "
        f"evaluation; {memory:,.0f} MiB; mean return {agent.records[-1].returns.mean():.2f}"
    )


def language(device: str, *, small: bool) -> None:
    """Words a second and memory of an update, by method."""
    sizes = (40_000, 4_000, 4_000) if small else (929_589, 73_760, 82_430)
    vocabulary = 500 if small else 10_000
    corpus = made_up(vocabulary, sizes)
    ngram = KneserNey(2).fit(corpus.train, vocab_size=vocabulary)
    shape = {"hidden_size": 48 if small else 1500, "dropout": 0.65, "learning_rate": 1.0}
    shape |= {"batch_size": 4, "unroll": 10} if small else {"batch_size": 20, "unroll": 35}
    drawn = {"every": 1, "contexts": 0, "history": 10 if small else 35, "between": "none"}
    print("| method | k | words/s | peak of an update, MiB |")
    print("|---|---|---|---|")
    for method, k in (
        ("none", 0),
        ("batch", 0),
        ("sampled", 10),
        ("serialized", 10),
        ("serialized", 20 if small else 100),
    ):
        settings = shape | (drawn | {"k": k} if k else {})
        try:
            words, memory = speed(corpus, ngram, device, method, settings)
            shown = f"{words:,.0f} | {memory / 2**20:,.0f}"
        except torch.OutOfMemoryError:
            shown = "out of memory | -"
        print(f"| {method} | {k or '-'} | {shown} |", flush=True)
        gc.collect()


def speed(
    corpus: Corpus, ngram: Any, device: str, method: str, settings: dict[str, Any]
) -> tuple[float, float]:
    """Words a second, and the peak of memory beyond what was held before the updates."""
    trainer = trainer_of(corpus, ngram, device, method, **settings)
    run(trainer, 2)
    held = device_limits.start_peak(trainer.device)
    updates = 3 if settings.get("k", 0) > 10 else 10
    seconds = run(trainer, updates)
    memory = device_limits.peak_bytes(trainer.device) - held
    return updates * trainer.settings.update_words / seconds, memory


def run(trainer: LMTrainer, updates: int) -> float:
    end = trainer.updates + updates
    device_limits.synchronize(trainer.device)
    start = time.perf_counter()
    trainer.train(lambda t, _: t.updates < end)
    device_limits.synchronize(trainer.device)
    return time.perf_counter() - start


def main() -> int:
    """Runs the four parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cpu", "cuda"))
    parser.add_argument("--small", action="store_true", help="small sizes, seconds on a CPU")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "argument --device: PyTorch finds no CUDA device here. Use --device cpu --small."
        )
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    best = device_limits.limits(args.device, size=256 if args.small else None)
    print(f"{name}, PyTorch {torch.__version__}; {best.text()}\n")
    print(f"Largest difference to the CPU over 50 updates (at most {TOLERANCE:g} is wanted):")
    found: dict[str, float] = {}
    for part in (compare_language, compare_reinforce, compare_logistic):
        found |= part(args.device)
    bad = {what: value for what, value in found.items() if not value <= TOLERANCE}
    for what, value in found.items():
        print(f"  {what}: {value:.2g}{'  TOO LARGE' if what in bad else ''}")
    print()
    grid(args.device, 32 if args.small else 4096, 5 if args.small else 100)
    print()
    language(args.device, small=args.small)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
