"""BERT with both heads: shared and tied weights, what it saves, and checkpoints that are refused."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from imm_rl.errors import InvalidInputError
from imm_rl.language import masked_checkpoint as checkpoint


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with checkpoint.quiet():
        yield


def test_both_heads_share_the_encoder_and_the_decoder_is_tied(small_bert: Path) -> None:
    from transformers import AutoModelForMaskedLM

    model = checkpoint.load_model(str(small_bert), 2).eval()
    embeddings = model.bert.embeddings.word_embeddings.weight
    assert model.cls.predictions.decoder.weight is embeddings
    assert model.cls.predictions.decoder.bias is model.cls.predictions.bias
    ids = torch.tensor([[2, 7, 4, 9, 3], [2, 8, 8, 3, 0]])
    mask = (ids != 0).long()
    asked = torch.zeros(2, 5, dtype=torch.bool)
    asked[0, 2] = asked[1, 1] = True
    other = AutoModelForMaskedLM.from_pretrained(small_bert).eval()
    with torch.no_grad():
        found = model(ids, mask, asked=asked)
        expected = other(ids, attention_mask=mask).logits[asked]
    assert torch.allclose(found.mlm_logits, expected, atol=1e-6)
    assert found.logits.shape == (2, 2)
    assert model(ids, mask).mlm_logits is None
    (found := model(ids, mask, asked=asked)).mlm_logits.sum().backward()
    assert embeddings.grad is not None
    assert model.classifier.weight.grad is None


def test_what_it_saves_loads_as_itself_and_as_a_classifier(
    small_bert: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForSequenceClassification

    model = checkpoint.load_model(str(small_bert), 2).eval()
    model.save_pretrained(tmp_path)
    again = checkpoint.load_model(str(tmp_path), 2).eval()
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        # The last digit depends on where the weights lie in memory.
        assert torch.allclose(model(ids).logits, again(ids).logits, atol=1e-7)
        assert torch.allclose(model(ids).logits, classifier(ids).logits, atol=1e-7)
    weights, loaded = model.state_dict(), again.state_dict()
    assert weights.keys() == loaded.keys()
    assert all(torch.equal(weights[name], loaded[name]) for name in weights)


def test_labels_are_refused_by_the_model(small_bert: Path) -> None:
    model = checkpoint.load_model(str(small_bert), 2)
    with pytest.raises(InvalidInputError, match="compute_loss_func=loss"):
        model(torch.tensor([[2, 3]]), labels=torch.tensor([0]))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    from transformers import DistilBertConfig

    DistilBertConfig().save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match="architecture 'distilbert'; only 'bert'"):
        checkpoint.check_architecture(str(tmp_path))


def test_sentences_longer_than_the_model_are_refused(small_bert: Path) -> None:
    checkpoint.check_architecture(str(small_bert), 128)
    with pytest.raises(InvalidInputError, match="max_length must be at most 128, the positions of"):
        checkpoint.check_architecture(str(small_bert), 129)


def test_a_classifier_without_masked_lm_head_is_refused(small_bert: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(small_bert).save_pretrained(tmp_path)
    with pytest.raises(InvalidInputError, match="was not trained as a masked language model"):
        checkpoint.load_model(str(tmp_path), 2)


def test_places_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no config.json"):
        checkpoint.model_place(str(tmp_path))
    with pytest.raises(InvalidInputError, match="there is no such folder"):
        checkpoint.model_place(str(tmp_path / "none"))


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "tokenizer.json"])
def test_damaged_checkpoints_give_one_clear_error(
    small_bert: Path, tmp_path: Path, broken: str
) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(small_bert, folder)
    (folder / broken).write_bytes((folder / broken).read_bytes()[:100])

    def load_all() -> None:
        checkpoint.check_architecture(str(folder))
        checkpoint.load_tokenizer(str(folder))
        checkpoint.load_model(str(folder), 2)

    with pytest.raises(InvalidInputError, match="cannot be loaded") as caught:
        load_all()
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(small_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(small_bert, folder, ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    with pytest.raises(InvalidInputError, match="there is no tokenizer beside it"):
        checkpoint.load_tokenizer(str(folder))


def test_fingerprint_changes_with_the_weights(small_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(small_bert, tmp_path / "bert")
    before = checkpoint.model_fingerprint(str(tmp_path / "bert"))
    assert before == checkpoint.model_fingerprint(str(small_bert))
    weights = tmp_path / "bert" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert checkpoint.model_fingerprint(str(tmp_path / "bert")) != before


def test_a_missing_extra_is_named() -> None:
    checkpoint.require("transformers")
    with pytest.raises(InvalidInputError, match=r"pip install 'imm-rl\[language\]'"):
        checkpoint.require("no_such_module_here")
