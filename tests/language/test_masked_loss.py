"""The loss of a masked language model: by hand, under transformers' Trainer, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language import IMMMaskedLMLoss
from imm_rl.language.masked_collator import Targets

Loss = Callable[..., IMMMaskedLMLoss]


@pytest.fixture
def tokenizer(small_bert: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(small_bert)


@pytest.fixture
def features(tokenizer: Any, small_glue: Path) -> list[dict[str, Any]]:
    lines = (small_glue / "RTE" / "train.tsv").read_text().splitlines()[1:]
    pairs = [line.split("\t")[1:3] for line in lines]
    found = tokenizer([a for a, _ in pairs], [b for _, b in pairs])
    return [
        {"input_ids": ids, "token_type_ids": kinds, "labels": i % 2}
        for i, (ids, kinds) in enumerate(
            zip(found["input_ids"], found["token_type_ids"], strict=True)
        )
    ]


@pytest.fixture
def make(tokenizer: Any, features: list[dict[str, Any]]) -> Loss:
    return lambda **options: IMMMaskedLMLoss(tokenizer, features, **options)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    from imm_rl.language.masked_checkpoint import quiet

    with quiet():
        yield


@pytest.mark.parametrize("context", ["left", "both"])
def test_a_batch_shows_every_restricted_context_and_hides_one_piece_of_each_completion(
    make: Loss, features: list[dict[str, Any]], tokenizer: Any, context: str
) -> None:
    torch.manual_seed(3)
    loss = make(k=4, matched=6, context=context, mlm_probability=0.2)
    batch = loss.collator(classify=True)(features)
    targets = batch["labels"]
    contexts, asked, ids = targets["contexts"], targets["asked"], batch["input_ids"]
    count = len(features)
    assert len(contexts) == 6
    assert ids.shape[0] == 2 * count + 6 * 4
    clean = [
        row[mask.bool()].tolist() for row, mask in zip(ids, batch["attention_mask"], strict=True)
    ][:count]
    assert clean == [feature["input_ids"] for feature in features]
    assert not asked[:count].any()
    assert asked[count : 2 * count].sum() == len(targets["words"])
    where = asked[2 * count :].nonzero()
    assert where[:, 0].tolist() == list(range(24))  # one of each completion
    for (row, place), own in zip(
        where.tolist(), np.repeat(contexts, 4, axis=0).tolist(), strict=True
    ):
        seen = ids[2 * count + row].tolist()
        assert seen.count(tokenizer.mask_token_id) == 1
        assert seen[place] == tokenizer.mask_token_id
        beside = [seen[place - 1]] if context == "left" else [seen[place - 1], seen[place + 1]]
        assert beside == own
    hidden = asked[count : 2 * count]
    originals = ids[:count][hidden]
    assert torch.equal(originals, targets["words"])
    assert not torch.isin(originals, torch.tensor(tokenizer.all_special_ids)).any()


def test_the_loss_and_its_gradient_are_those_made_by_hand(make: Loss, tokenizer: Any) -> None:
    size = len(tokenizer)
    loss = make(imm_lambda=0.7, k=2, mlm_weight=0.5)
    assert loss.bigram is not None
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, size))
    classes = rng.normal(size=(9, 2))
    words = np.array([7, 9, 7])
    piece = tokenizer.convert_tokens_to_ids("the")
    logits = torch.tensor(values, requires_grad=True)
    class_logits = torch.tensor(classes, requires_grad=True)
    asked = torch.zeros(9, 4, dtype=torch.bool)
    labels = Targets(
        sentences=torch.tensor(2),
        classes=torch.tensor([1, 0]),
        words=torch.from_numpy(words),
        contexts=torch.tensor([[piece]]),
        asked=asked,
    )
    outputs = SimpleNamespace(logits=class_logits, mlm_logits=logits)
    found = loss(outputs, labels)
    found.backward()

    p_hat = loss.bigram.probs([[piece]])[0]
    p_hat[tokenizer.all_special_ids] = 0.0
    p_hat /= p_hat.sum()
    q = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    induced = q[3:].mean(0)
    imm = -(p_hat * np.log(induced)).sum()
    mlm = -np.log(q[np.arange(3), words]).mean()
    share = np.exp(classes[:2]) / np.exp(classes[:2]).sum(1, keepdims=True)
    classification = -np.log(share[[0, 1], [1, 0]]).mean()
    assert found.item() == pytest.approx(classification + 0.5 * mlm + 0.7 * imm, rel=1e-6)
    assert loss.measured["imm"].item() == pytest.approx(imm, rel=1e-6)

    # d imm / d logits[k] = q_k (s_k − Σ_y q_k s) with s = −P̂ / (2 Q̄)
    slope = -p_hat / induced / 2
    expected = np.zeros_like(values)
    expected[:3] = 0.5 * (q[:3] - np.eye(size)[words]) / 3
    inner = (q[3:] * slope).sum(1, keepdims=True)
    expected[3:] = 0.7 * q[3:] * (slope - inner)
    assert logits.grad is not None
    assert np.allclose(logits.grad.numpy(), expected, atol=1e-7)
    assert class_logits.grad is not None
    assert np.allclose(class_logits.grad[:2].numpy(), (share - np.eye(2)[[1, 0]]) / 2, atol=1e-6)
    assert not class_logits.grad[2:].any()


@pytest.mark.parametrize("dense_bytes", [2**20, 0], ids=["dense", "sparse"])
@pytest.mark.parametrize("context", ["left", "both"])
def test_the_term_of_a_batch_that_trainer_moved_neither_mixes_devices_nor_waits(
    make: Loss,
    features: list[dict[str, Any]],
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    context: str,
    dense_bytes: int,
) -> None:
    """The device is `meta`, which has no values; what `Trainer` moves a batch with is accelerate's."""
    from accelerate.utils import send_to_device

    from imm_rl.language import ngram_rows

    monkeypatch.setitem(ngram_rows.NgramRows.__init__.__kwdefaults__, "dense_bytes", dense_bytes)
    torch.manual_seed(0)
    loss = make(k=2, matched=4, context=context)
    labels = send_to_device(loss.collator(classify=True)(features)["labels"], torch.device("meta"))
    assert labels["words"].is_meta
    assert isinstance(labels["contexts"], np.ndarray)  # it can be neither pinned nor waited for
    asked = len(labels["words"]) + 2 * len(labels["contexts"])
    outputs = SimpleNamespace(
        logits=torch.zeros(40, 2, device="meta"),
        mlm_logits=torch.zeros(asked, len(tokenizer), device="meta", requires_grad=True),
    )
    loss._matcher(torch.device("meta"))._check = False  # of the first batch, which looks at values
    loss(outputs, labels).backward()
    assert set(loss.measured) == {"classification", "mlm", "imm"}
    assert outputs.mlm_logits.grad.is_meta


def test_lambda_zero_draws_nothing(make: Loss, features: list[dict[str, Any]]) -> None:
    loss = make(imm_lambda="0")
    assert loss.bigram is None
    torch.manual_seed(0)
    batch = loss.collator()(features)
    assert "contexts" not in batch["labels"]
    assert len(batch["input_ids"]) == len(features)


def trained(model: Any, folder: Path, loss: IMMMaskedLMLoss, data: Any, **options: Any) -> Any:
    """A real Trainer, three updates; what it has learned."""
    from transformers import Trainer, TrainingArguments, set_seed

    callbacks = options.pop("callbacks", [])
    classify = options.pop("classify", False)
    arguments = TrainingArguments(
        output_dir=str(folder),
        **{
            "max_steps": 3,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            **options,
        },
    )
    set_seed(1)
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=data,
        data_collator=loss.collator(classify=classify),
        compute_loss_func=loss,
        callbacks=callbacks,
    )
    trainer.train()
    return trainer


def test_trainer_trains_a_plain_masked_language_model(
    make: Loss, features: list[dict[str, Any]], small_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM

    weights = []
    for number, bf16 in ((0.0, False), (0.5, False), (0.5, True)):
        model = AutoModelForMaskedLM.from_pretrained(small_bert)
        loss = make(imm_lambda=number, k=2, matched=4)
        options = {"prediction_loss_only": True, "bf16": bf16}
        trainer = trained(model, tmp_path, loss, features, **options)
        assert set(loss.measured) == ({"mlm"} if number == 0.0 else {"mlm", "imm"})
        assert np.isfinite(trainer.evaluate()["eval_loss"])
        weights.append(model.cls.predictions.bias.detach().clone())
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert torch.allclose(weights[1], weights[2], atol=0.02)


def test_more_of_the_term_brings_the_induced_model_nearer_to_the_bigram(
    make: Loss, features: list[dict[str, Any]], small_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM

    ends = []
    for number in (1e-9, 10.0):
        loss = make(imm_lambda=number, k=4, matched=64)
        model = AutoModelForMaskedLM.from_pretrained(small_bert)
        trained(model, tmp_path, loss, features, max_steps=12)
        model.eval()
        torch.manual_seed(9)
        batch = loss.collator()(features)
        labels = batch.pop("labels")
        with torch.no_grad():
            loss(model(**batch), labels)
        ends.append(float(loss.measured["imm"]))
    assert ends[1] < ends[0] - 0.05


def test_accumulated_batches_count_as_one(
    make: Loss, features: list[dict[str, Any]], small_bert: Path, tmp_path: Path
) -> None:
    """Two batches of 8 and one of 16: of a classification alone nothing is drawn, so they agree."""
    from imm_rl.language.masked_checkpoint import load_model

    found = []
    for size, times in ((16, 1), (8, 2), (4, 4)):
        torch.manual_seed(0)
        model = load_model(str(small_bert), 2)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        loss = make(imm_lambda=0.0, mlm_weight=0.0)
        options = {"per_device_train_batch_size": size, "gradient_accumulation_steps": times}
        trained(model, tmp_path, loss, features, classify=True, optim="sgd", **options)
        found.append(model.classifier.weight.detach())
    assert torch.allclose(found[0], found[1], atol=1e-6)
    assert torch.allclose(found[0], found[2], atol=1e-6)


def test_a_schedule_follows_the_training(
    make: Loss, features: list[dict[str, Any]], small_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForMaskedLM

    model = AutoModelForMaskedLM.from_pretrained(small_bert)
    loss = make(imm_lambda="linear:1->0@0.5", k=2, matched=4)
    with pytest.raises(InvalidInputError, match=r"callbacks=\[loss.callback\(\)\]"):
        trained(model, tmp_path, loss, features)
    callbacks = [loss.callback()]
    trained(model, tmp_path, loss, features, callbacks=callbacks, max_steps=1)
    assert "imm" in loss.measured
    trained(model, tmp_path, loss, features, callbacks=callbacks, max_steps=4)
    assert "imm" not in loss.measured  # λ is 0 in the second half


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"imm_lambda": "target-kl:0.1"}, "neither measure"),
        ({"imm_lambda": "paper"}, "neither measure"),
        ({"imm_lambda": "x"}, "one of the forms"),
        ({"k": 0}, "k must be a whole number"),
        ({"matched": 1.5}, "matched must be a whole number"),
        ({"context": "rigt"}, "unknown context 'rigt'"),
        ({"mlm_weight": -1.0}, "mlm_weight must be"),
        ({"mlm_probability": 1.0}, r"mlm_probability must be in \(0, 1\)"),
    ],
)
def test_loss_refuses(make: Loss, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        make(**options)


def test_labels_of_another_collator_and_other_vocabularies_are_refused(
    make: Loss, features: list[dict[str, Any]], tokenizer: Any
) -> None:
    loss = make()
    with pytest.raises(InvalidInputError, match=r"data_collator=loss.collator\(\)"):
        loss(SimpleNamespace(logits=torch.zeros(1, 2, 3)), torch.zeros(1, 2))
    torch.manual_seed(0)
    batch = loss.collator()(features)
    rows, length = batch["input_ids"].shape
    wide = SimpleNamespace(logits=torch.zeros(rows, length, len(tokenizer) + 1))
    with pytest.raises(InvalidInputError, match=f"vocab_size={len(tokenizer) + 1}"):
        loss(wide, batch["labels"])
    with pytest.raises(InvalidInputError, match="a feature has no 'input_ids'"):
        loss.collator()([{"text": "a"}])
