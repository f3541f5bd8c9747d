"""BERT with a head for classes and one for masked word pieces on the same encoder.

Loaded from any BERT checkpoint of transformers (`bert-base-uncased`, a folder): encoder and masked-LM
head are the checkpoint's, a head of classes that it lacks is drawn with PyTorch's generator. What
`save_pretrained` writes loads as `AutoModelForSequenceClassification` and as `AutoModelForMaskedLM`
too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import BertConfig, BertModel, BertPreTrainedModel
from transformers.models.bert.modeling_bert import BertOnlyMLMHead
from transformers.utils.generic import ModelOutput

from imm_rl.errors import InvalidInputError


@dataclass
class BothOutputs(ModelOutput):  # type: ignore[misc]  # a class without types
    """What `BertForClassificationAndMaskedLM` gives.

    Attributes:
        logits: (R, classes).
        mlm_logits: (P, V), of the positions that were asked for, row by row; None without.
    """

    logits: torch.Tensor | None = None
    mlm_logits: torch.Tensor | None = None


class BertForClassificationAndMaskedLM(BertPreTrainedModel):  # type: ignore[misc]
    """One encoder, two heads; names of weights are those of transformers' own BERT models."""

    _tied_weights_keys = {  # noqa: RUF012  transformers reads it so
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.bert = BertModel(config)
        given = config.classifier_dropout
        self.dropout = torch.nn.Dropout(config.hidden_dropout_prob if given is None else given)
        self.classifier = torch.nn.Linear(config.hidden_size, config.num_labels)
        self.cls = BertOnlyMLMHead(config)
        self.post_init()

    def get_output_embeddings(self) -> Any:
        """The decoder of word pieces, tied to the embeddings."""
        return self.cls.predictions.decoder

    def set_output_embeddings(self, new_embeddings: Any) -> None:
        """As transformers' BERT does."""
        self.cls.predictions.decoder = new_embeddings
        self.cls.predictions.bias = new_embeddings.bias

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        asked: torch.Tensor | None = None,
        labels: None = None,
    ) -> BothOutputs:
        """Logits of classes of every row, and of word pieces where they are asked for.

        Args:
            input_ids: (R, L) int64.
            attention_mask: (R, L), 0 at padding.
            token_type_ids: (R, L).
            asked: (R, L) bool, the positions whose word pieces are predicted.
            labels: Here for `Trainer`, which looks for the name and keeps columns that have it.

        Raises:
            InvalidInputError: Labels are given: `IMMMaskedLMLoss` has the loss.
        """
        if labels is not None:
            raise InvalidInputError(
                "this model computes no loss of its own. Give Trainer compute_loss_func=loss, an "
                "IMMMaskedLMLoss."
            )
        outputs = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        found = None if asked is None else self.cls(outputs.last_hidden_state[asked])
        return BothOutputs(logits=logits, mlm_logits=found)
