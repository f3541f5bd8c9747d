"""`imm-rl lm generate`: text from a trained language model."""

from __future__ import annotations

import argparse

from imm_rl.cli import values
from imm_rl.cli.lm_models import add_model

EPILOG = """\
examples:
  imm-rl lm generate --prompt "the function"
  imm-rl lm generate runs/lm/pydoc/lstm-batch-1 --words 100 --temperature 0.7 --seed 1
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.epilog = EPILOG
    add_model(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="words to go on from")
    parser.add_argument("--words", default="60", metavar="N", help="how many (default: 60)")
    parser.add_argument(
        "--temperature",
        default="1",
        metavar="T",
        help="below 1: likelier words (default: 1)",
    )
    parser.add_argument(
        "--top-k", default="0", metavar="N", help="draw from the N likeliest alone (default: all)"
    )
    parser.add_argument("--seed", metavar="K", help="of the draws (default: one, drawn)")


def run(args: argparse.Namespace) -> int:
    """Prints the prompt and what follows it."""
    words = values.count("--words", args.words)
    top_k = values.whole("--top-k", args.top_k)
    temperature = values.positive("--temperature", args.temperature)
    seed = None if args.seed is None else values.seed("--seed", args.seed)

    import shlex
    import sys

    import torch

    from imm_rl.cli.lm_models import model_files, seed_text
    from imm_rl.language.generation import generate, sentences
    from imm_rl.language.lm_checkpoint import load_model
    from imm_rl.language.tokens import words as split
    from imm_rl.language.vocabulary import END

    files = model_files(args.model, args.logdir)
    found = load_model(files[0])
    if len(files) > 1:
        print(
            f"model: {seed_text(found, files[0])}, the first of {len(files)} seeds; another one: "
            f"imm-rl lm generate {shlex.quote(str(files[1].parent))}",
            file=sys.stderr,
        )
    if seed is None:
        seed = values.drawn_seed()
        print(f"seed {seed}", file=sys.stderr)
    # Words as they are where the model has them; else split as the embedded text is.
    prompt = [
        part
        for word in args.prompt.split()
        for part in ([word] if word in found.vocabulary else split(word))
    ]
    unknown = sorted({word for word in prompt if word not in found.vocabulary})
    if unknown:
        print(f"unknown to the model, taken for <unk>: {', '.join(unknown)}", file=sys.stderr)
    drawn = generate(
        found.model,
        found.vocabulary,
        prompt,
        words,
        torch.Generator().manual_seed(seed),
        temperature=temperature,
        top_k=top_k,
    )
    print(sentences([*prompt, *drawn], END))
    return 0
