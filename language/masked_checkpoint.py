"""BERT checkpoints of Hugging Face: from a folder, or from its hub, with one clear error for what is amiss.

A name on the hub becomes the folder of its snapshot (`hub`), once; all else here reads folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imm_rl.errors import InvalidInputError, invalid
from imm_rl.files import user_path
from imm_rl.language import hub
from imm_rl.out_of_memory import is_out_of_memory


def require(*modules: str) -> None:
    """Refuses to go on without the extra `language`.

    Raises:
        InvalidInputError: One of the modules is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise InvalidInputError(
                f"masked language models need {module}, which is not installed: "
                "pip install 'imm-rl[language]'"
            )


def model_place(name: str) -> str:
    """The absolute path of a model's folder; of a name on the hub, that of its snapshot.

    Raises:
        InvalidInputError: It looks like a path, and there is no such folder; the folder has no model of
            transformers; or the hub has no such model, or neither answers nor was asked before.
        RunFailedError: A download failed.
    """
    path = user_path(name)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidInputError(
                f"model {name}: the folder has no config.json, so it is no model of transformers. "
                "Make one with save_pretrained, of the model and of its tokenizer."
            )
        return str(path.absolute())
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise InvalidInputError(f"model {name!r}: there is no such folder.")
    return str(hub.snapshot(name))


def model_fingerprint(place: str) -> str:
    """16 hexadecimal digits of configuration, weights and tokenizer; of the hub, name and commit."""
    commit = hub.commit_of(place)
    if commit is not None:
        return commit
    folder = Path(place)
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".bin", ".txt") and path.is_file():
            found.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()[:16]


def load_tokenizer(place: str) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        InvalidInputError: There is none, or it has no words or no mask token.
    """
    from transformers import AutoTokenizer

    tokenizer = _loaded(AutoTokenizer, place, "tokenizer")
    # Where a folder has no tokenizer, transformers makes one that knows special pieces alone.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise InvalidInputError(
            f"model {place}: there is no tokenizer beside it (tokenizer.json or vocab.txt). Save it there "
            "too, with save_pretrained."
        )
    if tokenizer.mask_token_id is None:
        raise InvalidInputError(f"model {place}: its tokenizer has no mask token.")
    return tokenizer


def check_architecture(place: str, max_length: int = 1) -> None:
    """Refuses a checkpoint that is no BERT, or one for shorter sentences.

    Args:
        place: Of the checkpoint.
        max_length: Word pieces of the longest sentence.

    Raises:
        InvalidInputError: It is another architecture, has fewer positions, or cannot be read.
    """
    from transformers import AutoConfig

    config = _loaded(AutoConfig, place, "configuration")
    if config.model_type != "bert":
        raise InvalidInputError(
            f"model {place} is of the architecture {config.model_type!r}; only 'bert' can be "
            "fine-tuned here with both heads. Others can be trained as plain masked language models, by "
            "IMMMaskedLMLoss."
        )
    most = config.max_position_embeddings
    if max_length > most:
        raise invalid("max_length", f"be at most {most}, the positions of this model", max_length)


def load_model(place: str, labels: int) -> Any:
    """The checkpoint with a head of `labels` classes and one of word pieces.

    Raises:
        InvalidInputError: It cannot be loaded, or has no masked-LM head.
    """
    from imm_rl.language.masked_model import BertForClassificationAndMaskedLM

    model, found = _loaded(
        BertForClassificationAndMaskedLM,
        place,
        "model",
        num_labels=labels,
        output_loading_info=True,
    )
    # A drawn head of classes, and pooler below it, is what fine-tuning starts with; all else is the model.
    missing = [
        name
        for name in found["missing_keys"]
        if not name.startswith(("classifier.", "bert.pooler."))
    ]
    if missing:
        raise InvalidInputError(
            f"model {place} has no weights {sorted(missing)[0]}: it was not trained as a masked language "
            "model. Give one that was, such as bert-base-uncased."
        )
    return model


def _loaded(kind: Any, place: str, what: str, **options: Any) -> Any:
    """`kind.from_pretrained` of a folder; its progress and reports are not shown."""
    try:
        with quiet():
            return kind.from_pretrained(place, local_files_only=True, **options)
    except Exception as error:  # noqa: BLE001, RUF100  safetensors, json and transformers have their own
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InvalidInputError(f"model {place}: its {what} cannot be loaded: {reason}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers from printing bars, advice and reports; errors come as exceptions."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
