"""Time and memory of a language model's training, by method, as ratios to plain training.

Time: blocks of updates of all methods, interleaved, so that what else the machine does meets all of them;
medians. Memory: a child process for each number of histories; its peak beyond what it held before the
update.

    python scripts/bench_language.py                         # the embedded corpus, laptop preset
    python scripts/bench_language.py --corpus PATH --max-vocab 5000 --device cuda
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

METHODS = ("none", "noising", "batch", "sampled")
BLOCK = 10  # updates; a multiple of `every`, so that each block has as many that draw


def trainer_of(args: argparse.Namespace, method: str, **settings: object):
    from imm_rl.language.corpus import load_corpus
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_training import LMTrainer
    from imm_rl.language.ngram import KneserNey
    from imm_rl.schedules import parse

    corpus = load_corpus(args.corpus, max_vocab=args.max_vocab)
    chosen = LMSettings.preset(args.preset, start="epoch:0", **settings)
    ngram = KneserNey(chosen.order).fit(corpus.train, vocab_size=len(corpus.vocabulary))
    return LMTrainer(corpus, chosen, method, parse(0.25), ngram, device=args.device)


def seconds_of(trainer, updates: int) -> float:
    import torch

    end = trainer.updates + updates
    start = time.perf_counter()
    trainer.train(lambda t, _: t.updates < end)
    if trainer.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def times(args: argparse.Namespace) -> None:
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    trainers = {method: trainer_of(args, method, epochs=1000) for method in METHODS}
    words = trainers["none"].settings.update_words
    print(trainers["none"].corpus.about(), f"{torch.get_num_threads()} threads, {args.device}")
    for trainer in trainers.values():
        seconds_of(trainer, BLOCK)
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(args.blocks):
        for method, trainer in trainers.items():
            found[method].append(seconds_of(trainer, BLOCK))
    print("| method | words a second | time of an update, ratio to none | middle half of ratios |")
    print("|---|---|---|---|")
    for method, values in found.items():
        ratios = sorted(a / b for a, b in zip(values, found["none"], strict=True))
        low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
        speed = BLOCK * words / statistics.median(values)
        print(
            f"| {method} | {speed:,.0f} | {statistics.median(ratios):.2f} | {low:.2f}–{high:.2f} |"
        )


def memory(args: argparse.Namespace) -> None:
    print("| method | k | peak of an update, MB |")
    print("|---|---|---|")
    for method, k in (
        ("none", 1),
        ("sampled", 2),
        ("sampled", 10),
        ("serialized", 2),
        ("serialized", 10),
        ("serialized", 100),
    ):
        words = ["--corpus", args.corpus, "--preset", args.preset, "--device", args.device]
        words += [] if args.max_vocab is None else ["--max-vocab", str(args.max_vocab)]
        child = [sys.executable, __file__, *words, "--child", json.dumps([method, k])]
        done = subprocess.run(child, capture_output=True, text=True, check=True)
        print(f"| {method} | {k} | {float(done.stdout):,.0f} |", flush=True)


def child(args: argparse.Namespace) -> None:
    """Prints the peak megabytes of an update beyond what was held before it."""
    import torch

    torch.set_num_threads(1)
    method, k = json.loads(args.child)
    drawn = {} if method == "none" else {"k": k, "every": 1, "contexts": 0}
    trainer = trainer_of(args, method, epochs=1, **drawn)
    if trainer.device.type == "cuda":
        seconds_of(trainer, 1)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        seconds_of(trainer, 1)
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    before = status("VmRSS")
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from here on
    seconds_of(trainer, 2)
    print((status("VmHWM") - before) / 1024)


def status(name: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc")
    parser.add_argument("--max-vocab", type=int)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
    else:
        times(arguments)
        memory(arguments)
