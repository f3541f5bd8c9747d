"""Batches of masked language models with drawn completions: what `IMMMaskedLMLoss.collator` makes.

The rows of a batch, in this order, all in one forward pass of the model:

    clean        the sentences as they are, for a classification; left out where there is none
    masked       the same with BERT's masking: 15 % of the pieces, of which 80 % become [MASK], 10 % a
                 random piece and 10 % stay
    completions  for each matched position K training sentences with its restricted context, each with
                 that one position masked

Matched are positions that became [MASK] and whose neighbours in the context are left alone by the masking:
so the restricted context is a part of what the model sees. At most `matched` of them are drawn a batch.

Index letters: B sentences, R rows, L pieces of the longest, M masked positions, N matched ones, K
completions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from imm_rl.errors import InvalidInputError
from imm_rl.language.masked_positions import TrainingPositions, contexts_at


class Targets(dict[str, Any]):
    """What the loss of a batch needs, under the batch's key `labels`.

    `Trainer` moves it to the device and hands it to the loss. It counts the items of the batches that an
    update adds up by `labels.ne(-100).sum()`; here an item is a sentence.

    Keys: `asked` (R, L) bool, the positions whose prediction is asked for: row by row the M masked ones
    first, then the N · K of completions; `words` (M,) int64, the masked pieces; `contexts` (N, c) int64, an
    array: it stays on the host, where rows of P̂ are asked for (`MaskedBigram`); `classes` (B,) int64 where
    there is a classification; `sentences` (), B.
    """

    def ne(self, _: int) -> torch.Tensor:
        """Ones, as many as the batch has sentences."""
        return torch.ones(int(self["sentences"]), dtype=torch.bool)


class MaskedCollator:
    """Makes batches; call it with a list of features as the tokenizer makes them.

    Attributes:
        tokenizer: `Trainer` saves it with its checkpoints.

    Args:
        tokenizer: A tokenizer of transformers that has a mask token.
        positions: Of the training sentences; None where no completions are to be drawn.
        k: K.
        matched: The largest N.
        masking: Whether there are masked rows.
        classify: Whether there are clean rows; features then have `label` or `labels`.
        mlm_probability: The share of masked pieces.
        kind: "left" or "both".
    """

    def __init__(
        self,
        tokenizer: Any,
        positions: TrainingPositions | None,
        *,
        k: int,
        matched: int,
        masking: bool,
        classify: bool,
        mlm_probability: float,
        kind: str,
    ) -> None:
        from transformers import DataCollatorForLanguageModeling

        self.tokenizer = tokenizer
        self._positions, self._k, self._matched = positions, k, matched
        self._masking, self._classify, self._kind = masking, classify, kind
        self._special = torch.tensor(sorted(tokenizer.all_special_ids))
        self._masker = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mlm_probability)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """A batch: `input_ids`, `attention_mask`, `token_type_ids` (R, L) and `labels`.

        Where there is a classification, `asked` stands among the inputs too.

        Raises:
            InvalidInputError: A feature lacks its pieces or its label.
        """
        pieces = [torch.as_tensor(self._of(feature, "input_ids")).long() for feature in features]
        segments = [
            torch.as_tensor(feature["token_type_ids"]).long()
            if "token_type_ids" in feature
            else torch.zeros_like(row)
            for feature, row in zip(features, pieces, strict=True)
        ]
        targets = Targets(sentences=torch.tensor(len(features)))
        rows: list[torch.Tensor] = []
        kinds: list[torch.Tensor] = []
        asked: list[torch.Tensor] = []
        if self._classify:
            targets["classes"] = torch.tensor([int(self._label(f)) for f in features])
            rows, kinds = [*pieces], [*segments]
            asked = [torch.zeros_like(row, dtype=torch.bool) for row in pieces]
        if self._masking:
            holes = [self._masked(row) for row in pieces]
            rows += [hidden for hidden, _ in holes]
            kinds += segments
            asked += [words != -100 for _, words in holes]
            targets["words"] = torch.cat([words[words != -100] for _, words in holes])
            if self._positions is not None:
                contexts = self._contexts(self._positions, pieces, holes)
                targets["contexts"] = contexts.numpy()
                self._complete(self._positions, contexts, rows, kinds, asked)
        targets["asked"] = pad_sequence(asked, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        padding = self.tokenizer.pad_token_id
        batch: dict[str, Any] = {
            "input_ids": pad_sequence(rows, batch_first=True, padding_value=padding),
            "attention_mask": (torch.arange(int(lengths.max())) < lengths.unsqueeze(1)).long(),
            "labels": targets,
        }
        if "token_type_ids" in self.tokenizer.model_input_names:
            batch["token_type_ids"] = pad_sequence(kinds, batch_first=True)
        if self._classify:
            batch["asked"] = targets["asked"]
        return batch

    def _masked(self, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """BERT's masking of a sentence: what is seen, and the hidden pieces (−100 elsewhere)."""
        special = torch.isin(row, self._special)
        seen, words = self._masker.torch_mask_tokens(
            row.clone().unsqueeze(0), special_tokens_mask=special.unsqueeze(0)
        )
        return seen[0], words[0]

    def _contexts(
        self,
        positions: TrainingPositions,
        pieces: Sequence[torch.Tensor],
        holes: Sequence[tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        """(N, c), the contexts of the positions that are matched."""
        width = 1 if self._kind == "left" else 2
        found = [torch.zeros(0, width, dtype=torch.int64)]
        for row, (seen, words) in zip(pieces, holes, strict=True):
            hidden = words != -100
            at = ((seen == self.tokenizer.mask_token_id) & hidden).nonzero().squeeze(1)
            at = at[(at > 0) & (at < len(row) - 1)]
            alone = ~hidden[at - 1] if width == 1 else ~(hidden[at - 1] | hidden[at + 1])
            at = at[alone]
            found.append(contexts_at(row.expand(len(at), -1), at, self._kind))
        contexts = torch.cat(found)
        # All of the training sentences occur there; others, as in an evaluation, may not.
        contexts = contexts[positions.counts(contexts) > 0]
        return contexts[torch.randperm(len(contexts))[: self._matched]]

    def _complete(
        self,
        positions: TrainingPositions,
        contexts: torch.Tensor,
        rows: list[torch.Tensor],
        kinds: list[torch.Tensor],
        asked: list[torch.Tensor],
    ) -> None:
        """Appends the completions' rows, K of the first context, K of the second, and so on."""
        sentences, places = positions.draw(contexts, self._k)
        for sentence, place in zip(
            sentences.flatten().tolist(), places.flatten().tolist(), strict=True
        ):
            row = positions.sentences[sentence].clone()
            row[place] = self.tokenizer.mask_token_id
            where = torch.zeros_like(row, dtype=torch.bool)
            where[place] = True
            rows.append(row)
            kinds.append(positions.segments[sentence])
            asked.append(where)

    @staticmethod
    def _of(feature: Mapping[str, Any], name: str) -> Any:
        if name not in feature:
            raise InvalidInputError(
                f"a feature has no {name!r}; it has {', '.join(feature) or 'nothing'}. Tokenize the "
                "sentences, and leave their columns in the data set."
            )
        return feature[name]

    def _label(self, feature: Mapping[str, Any]) -> Any:
        return feature["labels"] if "labels" in feature else self._of(feature, "label")
