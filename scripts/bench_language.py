"""Time and memory of a language model's training, by method, as ratios to plain training and to limits.

Time: blocks of updates of all methods, interleaved, so that what else the machine does meets all of them;
medians. Memory: a child process for each number of histories; its peak beyond what it held before the
update. Work: operations of an update that draws, by PyTorch's `FlopCounterMode`, to which those of LSTM
layers are added, 8·(inputs + units)·units a word forwards and twice that backwards, as the counter does not
know them; the share is that of the float32 rate that `device_limits` measures (with `--tf32`: of TF32's).

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

DRAWN = ("sampled", "serialized")
METHODS = ("none", "noising", "batch", "sampled", "serialized")
BLOCK = 10  # updates; a multiple of `every`, so that each block has as many that draw


def trainer_of(args: argparse.Namespace, method: str, **settings: object):
    from imm_rl.language.corpus import load_corpus
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_training import LMTrainer
    from imm_rl.language.ngram import KneserNey
    from imm_rl.schedules import parse

    corpus = load_corpus(args.corpus, max_vocab=args.max_vocab)
    if args.model is not None:
        settings["model"] = args.model
    chosen = LMSettings.preset(args.preset, start="epoch:0", warmup=0, **settings)
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


def work(args: argparse.Namespace) -> None:
    """Operations of an update, words a second, and the share of the device's limit that this is."""
    import device_limits
    import torch

    best = device_limits.limits(args.device)
    torch.set_float32_matmul_precision("high" if args.tf32 else "highest")
    limit = best.tf32 if args.tf32 and best.tf32 else best.float32
    print(f"\n{args.device}, {torch.get_num_threads()} threads; {best.text()}")
    print("| method | words a second | GFLOP an update | GFLOP/s | share of the limit |")
    print("|---|---|---|---|---|")
    arms = {}
    for method in METHODS:
        drawn = {"every": 1, "contexts": args.contexts} if method in DRAWN else {}
        arms[method] = trainer_of(args, method, epochs=1000, **drawn)
        seconds_of(arms[method], 1)
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    for _ in range(args.blocks):
        for method, trainer in arms.items():
            found[method].append(seconds_of(trainer, 2) / 2)
    for method, trainer in arms.items():
        seconds = statistics.median(found[method])
        flops = operations(trainer)
        print(
            f"| {method} | {trainer.settings.update_words / seconds:,.0f} | {flops / 1e9:,.2f} "
            f"| {flops / seconds / 1e9:,.1f} | {100 * flops / seconds / limit:.2g} % |",
            flush=True,
        )


def operations(trainer) -> int:
    """Floating-point operations of the next update."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    lstm = [0]

    def count(layer, inputs, _) -> None:
        words = inputs[0].shape[:-1].numel()
        sizes = [layer.input_size, *[layer.hidden_size] * (layer.num_layers - 1)]
        forwards = sum(8 * (size + layer.hidden_size) * layer.hidden_size for size in sizes)
        lstm[0] += words * forwards * (3 if torch.is_grad_enabled() else 1)

    layers = [part for part in trainer.model.modules() if isinstance(part, torch.nn.LSTM)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with FlopCounterMode(display=False) as counter:
        seconds_of(trainer, 1)
    for hook in hooks:
        hook.remove()
    return int(counter.get_total_flops()) + lstm[0]


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
        words += [] if args.model is None else ["--model", args.model]
        words += [] if args.max_vocab is None else ["--max-vocab", str(args.max_vocab)]
        child = [sys.executable, __file__, *words, "--child", json.dumps([method, k])]
        done = subprocess.run(child, capture_output=True, text=True, check=True)
        print(f"| {method} | {k} | {float(done.stdout):,.0f} |", flush=True)


def child(args: argparse.Namespace) -> None:
    """Prints the peak megabytes of an update beyond what was held before it."""
    import torch

    torch.set_num_threads(1)
    from device_limits import status

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc")
    parser.add_argument("--max-vocab", type=int)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--model", help="as in imm-rl lm train; default: the preset's")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tf32", action="store_true", help="let a GPU multiply float32 in TF32")
    parser.add_argument("--contexts", type=int, default=128, help="matched by an update that draws")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments)
    else:
        times(arguments)
        memory(arguments)
        work(arguments)
