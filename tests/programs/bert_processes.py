"""A program: three updates of BERT under transformers' Trainer, in one process or as one of several.

    python tests/programs/bert_processes.py BERT FOLDER BATCH_SIZE λ...

BERT is a folder of transformers. Nothing is dropped out and the steps are plain gradient descent, so that
what is left to differ are the draws. With λ = 0 nothing is masked. Printed are last, as JSON, of each λ the
sum of the weights' squares, the weights of the head of classes, and the means of the last batch.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from transformers import AutoTokenizer, Trainer, TrainingArguments, set_seed

from imm_rl.language import IMMMaskedLMLoss
from imm_rl.language.masked_checkpoint import load_model, quiet


def trained(place: str, folder: str, batch_size: int, weight: float) -> dict[str, Any]:
    set_seed(0)
    model, tokenizer = load_model(place, 2), AutoTokenizer.from_pretrained(place)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.attention_probs_dropout_prob = 0.0
    for layer in model.bert.encoder.layer:
        layer.attention.self.dropout_prob = 0.0
    words = ["the", "small", "cat", "sat", "on", "a", "mat", "by", "door"]
    texts = [" ".join(words[i % 5 : i % 5 + 3 + i % 3]) for i in range(16)]
    data = [
        {"input_ids": ids, "label": i % 2} for i, ids in enumerate(tokenizer(texts)["input_ids"])
    ]
    loss = IMMMaskedLMLoss(
        tokenizer, data, imm_lambda=weight, k=2, matched=4, mlm_weight=1.0 if weight else 0.0
    )
    with quiet():
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=3,
                per_device_train_batch_size=batch_size,
                learning_rate=0.1,
                optim="sgd",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
                max_grad_norm=0.0,
            ),
            train_dataset=data,
            data_collator=loss.collator(classify=True),
            compute_loss_func=loss,
        ).train()
    return {
        "squares": sum(float(p.detach().double().square().sum()) for p in model.parameters()),
        "classifier": model.classifier.weight.detach().flatten().tolist(),
        "measured": {name: float(value) for name, value in loss.measured.items()},
    }


if __name__ == "__main__":
    bert, made, size, *weights = sys.argv[1:]
    found = [trained(bert, made, int(size), float(weight)) for weight in weights]
    print(f"\n{json.dumps(found)}", flush=True)
