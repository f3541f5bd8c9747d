"""Trains small models in float64 as one of the processes that the environment names; a test starts it.

    python spread_trainings.py FOLDER CASE...

leaves `FOLDER/<count>-<rank>.npz`: of each case, or of all, the gradient of the first update, what was
measured, and the parameters at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

WORDS = ("<eos>", "a", "b", "c", "d", "e", "f", "<unk>")
SMALL = {"model": "transformer", "hidden_size": 8, "heads": 2}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "none": ("none", "0", {}),
    "noising": ("noising", "linear:2->0@0.5", {}),
    "batch": ("batch", "1", {}),
    "batch, trigrams, adam": (
        *("batch", "1"),
        {"order": 3, "optimizer": "adam", "learning_rate": 0.01, "tied": True},
    ),
    "batch, transformer": ("batch", "1", {**SMALL, "optimizer": "sgd", "learning_rate": 0.1}),
    "sampled, transformer": ("sampled", "1", {**SMALL, "learning_rate": 0.01, "warmup": 3}),
    "batch, target-kl": ("batch", "target-kl:0.05", {}),
    "batch, aligned": ("batch", "aligned:2", {}),
    "sampled": ("sampled", "1", {}),
    "sampled, all contexts": ("sampled", "1", {"contexts": 0, "between": "noising"}),
    "sampled, one position": ("sampled", "1", {"contexts": 1, "every": 1}),
    "sampled, aligned": ("sampled", "aligned:2", {"every": 1}),
    "serialized": ("serialized", "1", {"every": 1, "contexts": 5}),
    "serialized, two positions": ("serialized", "1", {"contexts": 2}),
}


def text(seed: int, length: int) -> np.ndarray:
    """Mostly the next word of the alphabet, sometimes any."""
    rng = np.random.default_rng(seed)
    words = [0]
    while len(words) < length:
        jump = rng.random() < 0.2
        words.append(int(rng.integers(7)) if jump else (words[-1] + 1) % 7)
    return np.array(words, dtype=np.int64)


def main(folder: Path, names: list[str]) -> None:
    import torch

    from imm_rl.language.corpus import Corpus
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_training import Best, LMTrainer, copied
    from imm_rl.language.ngram import KneserNey
    from imm_rl.language.processes import started
    from imm_rl.language.vocabulary import Vocabulary

    torch.set_num_threads(1)
    processes = started("cpu")
    corpus = Corpus("tiny", Vocabulary(WORDS), text(1, 300), text(2, 131), text(3, 90))
    base = dict(hidden_size=6, layers=2, dropout=0.0, batch_size=6, unroll=10, epochs=2)
    base |= dict(init_range=0.5, learning_rate=1.0, clip=1e6, eval_batch_size=5)
    base |= dict(k=3, history=4, contexts=9, every=2)
    found: dict[str, Any] = {}
    for name in names or CASES:
        method, weight, changes = CASES[name]
        settings = LMSettings(**{**base, **changes})
        ngram = KneserNey(settings.order).fit(corpus.train, vocab_size=len(WORDS))
        one = LMTrainer(corpus, settings, method, weight, ngram, seed=3, processes=processes)
        one.model.double()
        one.carried = tuple(part.double() for part in one.carried)
        one.best = Best(one.best.perplexity, 0, copied(one.model))

        def keep(t: LMTrainer, record: Any, name: str = name) -> bool:
            if t.updates == 1:
                for key, parameter in t.model.named_parameters():
                    found[f"{name}/gradient/{key}"] = parameter.grad.numpy().copy()
                found[f"{name}/sums"] = np.array(t.gradients.sums.totals(t.processes).values())
            return True

        one.train(keep)
        for key, value in one.model.state_dict().items():
            found[f"{name}/parameters/{key}"] = value.numpy()
        for index, record in enumerate(one.records):
            for tag, value in record.items():
                if not tag.startswith("time/"):
                    found[f"{name}/{index}/{tag}"] = np.array(value)
    np.savez(folder / f"{processes.count}-{processes.rank}.npz", **found)
    processes.part()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
