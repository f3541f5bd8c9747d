"""BERT checkpoints of Hugging Face: from a folder, or from its hub, with one clear error for what is amiss.

transformers tries a hub that cannot be reached for half a minute. So it is asked for once, with a short
timeout; where it does not answer, what was downloaded before is taken.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imm_rl.errors import InvalidInputError, RunFailedError

NEEDED = ("transformers", "accelerate", "sklearn")
TIMEOUT = 5.0
"""Seconds that the hub has to answer."""


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
    """An absolute path where the name is that of a folder, else the name on the hub.

    Raises:
        InvalidInputError: It looks like a path, and there is no such folder; or the folder has no model
            of transformers.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InvalidInputError(
                f"model {name}: the folder has no config.json, so it is no model of transformers. "
                "Make one with save_pretrained, of the model and of its tokenizer."
            )
        return str(path.absolute())
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise InvalidInputError(f"model {name!r}: there is no such folder.")
    return name


def model_fingerprint(place: str) -> str:
    """16 hexadecimal digits of a folder's configuration, weights and tokenizer; of the hub, the name."""
    folder = Path(place)
    if not folder.is_dir():
        return place
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors", ".bin", ".txt") and path.is_file():
            found.update(path.name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()[:16]


def hub_answers(kind: str, name: str) -> bool:
    """Whether Hugging Face's hub can be reached and has something of this name.

    Args:
        kind: "model" or "dataset".
        name: Its name on the hub.

    Raises:
        InvalidInputError: The hub answers that it has no such thing.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    try:
        ask(name, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        raise InvalidInputError(f"Hugging Face has no {kind} {name!r}.") from None
    except HfHubHTTPError:
        return False
    except Exception:  # noqa: BLE001, RUF100  of whichever HTTP library this version uses
        return False
    return True


def load_tokenizer(place: str) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        InvalidInputError: There is none, or it has no mask token.
    """
    from transformers import AutoTokenizer

    tokenizer = _loaded(AutoTokenizer, place, "tokenizer")
    if tokenizer.mask_token_id is None:
        raise InvalidInputError(f"model {place}: its tokenizer has no mask token.")
    return tokenizer


def check_architecture(place: str) -> None:
    """Refuses a checkpoint that is no BERT.

    Raises:
        InvalidInputError: It is another architecture, or cannot be read.
    """
    from transformers import AutoConfig

    found = _loaded(AutoConfig, place, "configuration").model_type
    if found != "bert":
        raise InvalidInputError(
            f"model {place} is of the architecture {found!r}; only 'bert' can be fine-tuned here with both "
            "heads. Others can be trained as plain masked language models, by IMMMaskedLMLoss."
        )


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
    """`kind.from_pretrained`, offline where it can be; its progress and reports are not shown."""
    local = Path(place).is_dir() or not hub_answers("model", place)
    try:
        with quiet():
            return kind.from_pretrained(place, local_files_only=local, **options)
    except Exception as error:  # noqa: BLE001, RUF100  safetensors, json and transformers have their own
        if isinstance(error, MemoryError):
            raise RunFailedError(f"model {place}: not enough memory.") from None
        if local and not Path(place).is_dir():
            raise InvalidInputError(
                f"model {place!r}: Hugging Face's hub cannot be reached, it was not downloaded before, and "
                "there is no folder of that name. Give --model the path of a folder."
            ) from None
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
