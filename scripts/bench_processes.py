"""What training a language model in several processes costs: time, and what the processes tell each other.

Started by torchrun. Blocks of updates of all variants, interleaved; medians. `batch` takes the induced
model of a context from the positions of all processes; `batch, own groups` from those of each process
alone, which needs no message but is another term.

    torchrun --nproc-per-node 2 scripts/bench_processes.py
    torchrun --nproc-per-node 2 scripts/bench_processes.py --corpus PATH --max-vocab 5000 --device cuda
"""

from __future__ import annotations

import argparse
import statistics
import time

VARIANTS = ("none", "noising", "batch", "batch, own groups", "sampled")
BLOCK = 10  # updates; a multiple of `every`, so that each block has as many that draw


def use_own_groups(trainer, ngram) -> None:
    """Lets each process take the induced model from its own positions."""
    import torch

    from imm_rl.language.histories import Contexts
    from imm_rl.language.lm_term import MatchingTerm
    from imm_rl.language.lm_update import Updates
    from imm_rl.language.ngram_rows import NgramRows

    share = trainer.processes.share

    class OwnGroups(MatchingTerm):
        """The term of a process that knows of no others, of its share of the positions."""

        def grouped(self, ids: torch.Tensor):
            return super().grouped(ids[share(len(ids))])

    text = torch.from_numpy(trainer.corpus.train)
    contexts = Contexts.of(text, trainer.settings.order)
    term = OwnGroups(
        trainer.method,
        NgramRows(ngram, contexts.words, trainer.device),
        contexts,
        trainer.settings,
        trainer.generator,
        tokens=text.to(trainer.device),
    )
    trainer.gradients = Updates(trainer.model, term, trainer.controller, trainer.processes)


def main(args: argparse.Namespace) -> None:
    import torch

    from imm_rl.language.corpus import load_corpus
    from imm_rl.language.lm_settings import LMSettings
    from imm_rl.language.lm_training import LMTrainer
    from imm_rl.language.ngram import KneserNey
    from imm_rl.language.processes import Processes, own_device, started

    torch.set_num_threads(1)
    processes, device = started(args.device), own_device(args.device)
    corpus = load_corpus(args.corpus, max_vocab=args.max_vocab)
    settings = LMSettings.preset(args.preset, epochs=1000, batch_size=args.batch_size)
    ngram = KneserNey(settings.order).fit(corpus.train, vocab_size=len(corpus.vocabulary))

    told = {"bytes": 0}
    reduce = Processes._reduce

    def counted(self: Processes, tensor: torch.Tensor, operation: object) -> None:
        told["bytes"] += tensor.numel() * tensor.element_size()
        reduce(self, tensor, operation)

    Processes._reduce = counted
    trainers = {}
    for variant in VARIANTS:
        method = variant.partition(",")[0]
        trainers[variant] = LMTrainer(
            *(corpus, settings, method, "0" if method == "none" else "0.5", ngram),
            device=device,
            processes=processes,
        )
    use_own_groups(trainers["batch, own groups"], ngram)

    def seconds_of(trainer: LMTrainer) -> tuple[float, float]:
        """Seconds and bytes of an update."""
        end, before = trainer.updates + BLOCK, told["bytes"]
        start = time.perf_counter()
        trainer.train(lambda t, _: t.updates < end)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / BLOCK, (told["bytes"] - before) / BLOCK

    found = {variant: [] for variant in VARIANTS}
    for block in range(args.blocks + 1):
        for variant, trainer in trainers.items():
            measured = seconds_of(trainer)
            if block:  # the first one warms up
                found[variant].append(measured)
    if processes.first:
        print(
            f"{corpus.about()}; {processes.count} processes, {device.type}, batch {settings.batch_size}"
        )
        print(
            "| variant | words a second | ms an update, ratio to none | middle half | MB told an update |"
        )
        print("|---|---|---|---|---|")
        for variant, measured in found.items():
            pairs = zip(measured, found["none"], strict=True)
            ratios = sorted(own[0] / plain[0] for own, plain in pairs)
            low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
            seconds = statistics.median(own[0] for own in measured)
            size = statistics.mean(own[1] for own in measured) / 1e6
            print(
                f"| {variant} | {settings.update_words / seconds:,.0f} | {1e3 * seconds:.1f}, "
                f"{statistics.median(ratios):.2f} | {low:.2f}–{high:.2f} | {size:.2f} |"
            )
    processes.part()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--corpus", default="pydoc")
    parser.add_argument("--max-vocab", type=int)
    parser.add_argument("--preset", default="laptop")
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--blocks", type=int, default=9)
    main(parser.parse_args())
