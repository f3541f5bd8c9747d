"""Times Kneser-Ney models on a Zipf corpus: fit, memory, the rows of 700 contexts."""

from __future__ import annotations

import statistics
import time
import tracemalloc

import numpy as np

from imm_rl.language.ngram import KneserNey

N_TOKENS, VOCAB_SIZE, N_CONTEXTS, REPEATS = 1_000_000, 10_000, 700, 5


def main() -> None:
    share = 1 / np.arange(1, VOCAB_SIZE + 1)
    tokens = np.random.default_rng(0).choice(VOCAB_SIZE, size=N_TOKENS, p=share / share.sum())
    print(f"{N_TOKENS:,} tokens, {VOCAB_SIZE:,} words; medians of {REPEATS}")
    print("order  fit, s  peak extra memory, MB  rows of 700 contexts, s  log_prob of all, s")
    for order in (2, 3):
        contexts = np.lib.stride_tricks.sliding_window_view(tokens, order - 1)[:N_CONTEXTS]
        times: list[list[float]] = []
        for _ in range(REPEATS):
            clock = [time.perf_counter()]
            model = KneserNey(order).fit(tokens, vocab_size=VOCAB_SIZE)
            clock.append(time.perf_counter())
            model.probs(contexts)
            clock.append(time.perf_counter())
            model.log_prob(tokens)
            clock.append(time.perf_counter())
            times.append(np.diff(clock).tolist())
        tracemalloc.start()
        KneserNey(order).fit(tokens, vocab_size=VOCAB_SIZE)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        fit, rows, score = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{order:5}  {fit:6.2f}  {peak:21.0f}  {rows:23.3f}  {score:18.2f}")


if __name__ == "__main__":
    main()
