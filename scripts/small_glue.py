"""Makes GLUE's four tasks small, of a text at hand, and a small BERT trained on that text; no network.

    python scripts/small_glue.py OUT [--corpus PATH]      # pydoc, or a text such as bible_corpus.py's
    imm-rl reproduce table-2 --model OUT/bert --glue OUT/glue --out OUT/table

OUT/glue has folders of GLUE's form. On one half of the sentences of a text the BERT is trained as a
masked language model (plain, by transformers' Trainer); of the other half the tasks' training examples
are made, and their development examples of the text's validation and test part:

    CoLA   a sentence as it stands, or with a run of four words in another order
    MRPC   a sentence and a copy that lacks a quarter of its words, or such a copy of another sentence
    QNLI   a sentence with a run of words asked for ("the value of what ?"), and that sentence or another
    RTE    a sentence and a run of its words, or such a run with two words of another sentence put in

OUT/bert is a BERT of 2 layers of 64 units, saved as transformers saves it, with a WordPiece tokenizer of
2,000 pieces. Everything follows from --seed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imm_rl.errors import ImmRlError, InvalidInputError
from imm_rl.files import write_text
from imm_rl.language.corpus import load_corpus
from imm_rl.language.masked_checkpoint import require
from imm_rl.runs import make_folder

Sentence = list[str]
SHORTEST, LONGEST = 8, 16
RUN = 4
"""Words that CoLA puts in another order."""
LEAST = 2
"""Sentences that a part needs: three of the tasks set one beside another."""
STOPS = {"<eos>", ".", ";", ":", "?", "!"}
VOCABULARY = 2000
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", help="folder for glue/ and bert/")
    parser.add_argument("--corpus", default="pydoc", help="as imm-rl lm train has it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=int, default=400, help="training examples of a task")
    parser.add_argument("--dev", type=int, default=400, help="development examples of a task")
    parser.add_argument("--updates", type=int, default=5000, help="of the BERT's own training")
    args = parser.parse_args()
    try:
        require("transformers", "accelerate")
        corpus = load_corpus(args.corpus, min_count=1)
        words = corpus.vocabulary.words
        train = cut([words[i] for i in corpus.train])
        dev = cut([words[i] for part in (corpus.valid, corpus.test) for i in part])
        check(args.corpus, train, dev)
        out = make_folder(args.out, "tasks and a model")
        make_tasks(out / "glue", train[1::2], dev, args.train, args.dev, args.seed)
        make_bert(out / "bert", train[::2], args.updates, args.seed)
    except ImmRlError as error:
        print(f"small_glue.py: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInputError) else 1
    print(f"{corpus.about()}; fingerprint {corpus.fingerprint()}; wrote {out}/glue and {out}/bert")
    return 0


def cut(words: Sequence[str]) -> list[Sentence]:
    """What stands between stops and is neither short nor long nor one word again and again, each once."""
    found = [
        tuple(run) for is_end, run in itertools.groupby(words, lambda w: w in STOPS) if not is_end
    ]
    fitting = (run for run in found if SHORTEST <= len(run) <= LONGEST and has_another_order(run))
    return [list(run) for run in dict.fromkeys(fitting)]


def has_another_order(words: Sequence[str]) -> bool:
    """Whether a run that CoLA may take can be put in another order; not that of `<unk>` alone."""
    return any(len(set(words[at : at + RUN])) > 1 for at in range(len(words) - RUN))


def check(corpus: str, train: list[Sentence], dev: list[Sentence]) -> None:
    """Refuses a text of too few sentences, before anything is written.

    Raises:
        InvalidInputError: A part has fewer than it needs; the training part is halved.
    """
    for name, found, least in (
        ("training part", len(train), 2 * LEAST),
        ("validation and test part", len(dev), LEAST),
    ):
        if found < least:
            raise InvalidInputError(
                f"the {name} of {corpus} must have {least} different sentences of {SHORTEST} to {LONGEST} "
                f"words or more, with stops ({' '.join(sorted(STOPS - {'<eos>'}))}) as words of their own; "
                f"it has {found}. Take a longer text."
            )


def make_tasks(
    folder: Path, train: list[Sentence], dev: list[Sentence], n_train: int, n_dev: int, seed: int
) -> None:
    """Writes the TSV files of the four tasks."""
    for name, header, rows in (
        ("CoLA", None, cola),
        ("MRPC", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", mrpc),
        ("QNLI", "index\tquestion\tsentence\tlabel", qnli),
        ("RTE", "index\tsentence1\tsentence2\tlabel", rte),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for part, sentences, count in (("train", train, n_train), ("dev", dev, n_dev)):
            rng = random.Random(f"{name} {part} {seed}")
            lines = [] if header is None else [header]
            # The numbers of the examples, of which MRPC makes ids, differ between the parts.
            start = 0 if part == "train" else 2 * n_train
            lines += [rows(rng, sentences, start + i) for i in range(count)]
            write_text(folder / name / f"{part}.tsv", "\n".join(lines) + "\n")


def cola(rng: random.Random, sentences: list[Sentence], i: int) -> str:
    words = list(rng.choice(sentences))
    good = i % 2
    while not good:
        at = rng.randrange(len(words) - RUN)
        run = words[at : at + RUN]
        rng.shuffle(run)
        if run != words[at : at + RUN]:
            words[at : at + RUN] = run
            break
    return f"small\t{good}\t{'' if good else '*'}\t{' '.join(words)}"


def mrpc(rng: random.Random, sentences: list[Sentence], i: int) -> str:
    first, other = rng.sample(sentences, 2)
    source, same = (first, 1) if i % 2 else (other, 0)
    kept = [word for word in source if rng.random() > 0.25] or source
    return f"{same}\t{2 * i}\t{2 * i + 1}\t{' '.join(first)}\t{' '.join(kept)}"


def qnli(rng: random.Random, sentences: list[Sentence], i: int) -> str:
    asked, other = rng.sample(sentences, 2)
    at = rng.randrange(len(asked) - 4)
    question = [*asked[max(0, at - 6) : at], "what", *asked[at + 2 : at + 6], "?"]
    answer, label = (asked, "entailment") if i % 2 else (other, "not_entailment")
    return f"{i}\t{' '.join(question)}\t{' '.join(answer)}\t{label}"


def rte(rng: random.Random, sentences: list[Sentence], i: int) -> str:
    first, other = rng.sample(sentences, 2)
    at = rng.randrange(len(first) - 6)
    run = list(first[at : at + 7])
    label = "entailment" if i % 2 else "not_entailment"
    if not i % 2:
        for place in rng.sample(range(len(run)), 2):
            run[place] = rng.choice(other)
    return f"{i}\t{' '.join(first)}\t{' '.join(run)}\t{label}"


def make_bert(folder: Path, sentences: list[Sentence], updates: int, seed: int) -> None:
    """Trains and saves the tokenizer and the model."""
    from transformers import DataCollatorForLanguageModeling, Trainer, set_seed

    texts = [" ".join(sentence) for sentence in sentences]
    tokenizer = word_pieces(texts)
    set_seed(seed)
    model = new_bert(len(tokenizer))
    features = [{"input_ids": ids} for ids in tokenizer(texts)["input_ids"]]
    Trainer(
        model=model,
        args=arguments(
            folder,
            max_steps=updates,
            per_device_train_batch_size=32,
            learning_rate=2e-3,
            warmup_steps=200,
            weight_decay=0.01,
            seed=seed,
            logging_steps=500,
        ),
        train_dataset=features,
        data_collator=DataCollatorForLanguageModeling(tokenizer),
    ).train()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def arguments(folder: Path, **options: Any) -> Any:
    """`TrainingArguments` of a small training on the CPU that saves nothing by itself."""
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=str(folder),
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **options,
    )


def new_bert(pieces: int, units: int = 64, layers: int = 2, heads: int = 4) -> Any:
    """A BERT with its masked-LM head, drawn with PyTorch's generator."""
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(
        BertConfig(
            vocab_size=pieces,
            hidden_size=units,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * units,
            max_position_embeddings=128,
        )
    )


def word_pieces(texts: Sequence[str], most: int = VOCABULARY) -> Any:
    """A WordPiece tokenizer of the texts: single letters, and the commonest words, so many pieces in all.

    Not by the trainers of `tokenizers`: of pieces that are equally common theirs take now these, now those,
    so that no two runs would give the same numbers.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from transformers import BertTokenizerFast

    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    counts = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters = sorted({letter for word in counts for letter in word})
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    words = sorted((word for word in counts if len(word) > 1), key=lambda w: (-counts[w], w))
    pieces += words[: max(0, most - len(pieces))]
    make: Callable[..., Any] = BertTokenizerFast
    return make(vocab={piece: i for i, piece in enumerate(pieces)})


if __name__ == "__main__":
    sys.exit(main())
