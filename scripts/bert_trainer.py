"""A masked language model trained by transformers' own Trainer, with IMM: two lines more, no network.

    python scripts/bert_trainer.py [--updates 60]

A BERT of 2 layers of 64 units, drawn anew, learns a part of Python's documentation, once without IMM and
once with it. Printed is its loss on masked word pieces that it has not seen, in nats: less is better.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import small_glue
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language import load_corpus
from imm_rl.language.masked_checkpoint import require


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--updates", type=int, default=60)
    updates = parser.parse_args().updates
    try:
        require("transformers", "accelerate")
    except InvalidInputError as error:
        print(f"bert_trainer.py: error: {error}", file=sys.stderr)
        return 2
    corpus = load_corpus()
    words = corpus.vocabulary.words
    texts = [
        [" ".join(sentence) for sentence in small_glue.cut([words[i] for i in part])]
        for part in (corpus.train, corpus.valid)
    ]
    tokenizer = small_glue.word_pieces(texts[0])
    train, valid = ([{"input_ids": ids} for ids in tokenizer(t)["input_ids"]] for t in texts)
    for name, imm_lambda in (("without IMM", 0.0), ("with IMM", 0.5)):
        found = masked_loss(train_one(tokenizer, train, imm_lambda, updates), tokenizer, valid)
        print(f"{name}: {found:.3f} nats a masked word piece after {updates} updates")
    return 0


def train_one(tokenizer: Any, train: list[dict[str, Any]], imm_lambda: float, updates: int) -> Any:
    """What a user of Trainer writes: the loss, and its collator."""
    from transformers import Trainer, set_seed

    from imm_rl.language import IMMMaskedLMLoss

    set_seed(0)
    model = small_glue.new_bert(len(tokenizer))
    loss = IMMMaskedLMLoss(tokenizer, train, imm_lambda=imm_lambda, k=5, matched=8)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=small_glue.arguments(
                Path(folder), max_steps=updates, per_device_train_batch_size=16, learning_rate=1e-3
            ),
            train_dataset=train,
            data_collator=loss.collator(),
            compute_loss_func=loss,
        ).train()
    return model


@torch.no_grad()
def masked_loss(model: Any, tokenizer: Any, valid: list[dict[str, Any]]) -> float:
    """The mean over batches of sentences that were held out; the same masks for every model."""
    from transformers import DataCollatorForLanguageModeling

    torch.manual_seed(1)
    model.eval()
    collator = DataCollatorForLanguageModeling(tokenizer)
    batches = [collator(valid[start : start + 64]) for start in range(0, len(valid), 64)]
    return float(torch.stack([model(**batch).loss for batch in batches]).mean())


if __name__ == "__main__":
    sys.exit(main())
