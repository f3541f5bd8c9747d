"""Hugging Face's hub: asked once by a command, and done without where it does not answer.

huggingface_hub tries a hub that cannot be reached for half a minute. So it is asked once in a process, with
a short timeout; where it does not answer, what was downloaded before is taken. A model is then the folder
of its snapshot, `.../models--<owner>--<name>/snapshots/<commit>`, which every training reads, in whichever
process, without asking again.
"""

from __future__ import annotations

import functools
from pathlib import Path

from imm_rl.errors import InvalidInputError, RunFailedError

TIMEOUT = 5.0
"""Seconds that the hub has to answer."""

_FILES = ["*.json", "*.txt"]
"""Of a snapshot, beside the weights: configuration and tokenizer."""


def revision(kind: str, name: str) -> str | None:
    """The commit that the hub has of something now; None where the hub does not answer.

    Args:
        kind: "model" or "dataset".
        name: Its name on the hub.

    Raises:
        InvalidInputError: The hub answers that it has no such thing.
    """
    from huggingface_hub import constants

    return _asked(kind, name, constants.ENDPOINT)[0]


def snapshot(name: str) -> Path:
    """The folder of a model of the hub: downloaded now, or before where the hub does not answer.

    Raises:
        InvalidInputError: There is no such model, or neither hub nor download.
        RunFailedError: The download failed.
    """
    from huggingface_hub import constants, snapshot_download

    commit, files = _asked("model", name, constants.ENDPOINT)
    weights = "*.safetensors" if any(f.endswith(".safetensors") for f in files) else "*.bin"
    try:
        # Of a commit by its number the cache would not note that it is the newest.
        found = snapshot_download(
            name,
            local_files_only=commit is None,
            allow_patterns=[*_FILES, weights],
            endpoint=constants.ENDPOINT,
        )
    except Exception as error:  # noqa: BLE001, RUF100  of whichever HTTP library this version uses
        if commit is None:
            raise InvalidInputError(
                f"model {name!r}: Hugging Face's hub cannot be reached, it was not downloaded before, and "
                "there is no folder of that name. Give --model the path of a folder."
            ) from None
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise RunFailedError(
            f"model {name!r} could not be downloaded: {reason} Repeat the command to go on."
        ) from None
    return Path(found)


def commit_of(place: str) -> str | None:
    """`<owner>/<name>@<commit>` of a folder that is a snapshot of the hub; None of any other."""
    folder = Path(place)
    owner = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not owner.startswith("models--"):
        return None
    return f"{owner.removeprefix('models--').replace('--', '/')}@{folder.name}"


@functools.cache
def _asked(kind: str, name: str, endpoint: str) -> tuple[str | None, tuple[str, ...]]:
    """Commit and files; of a hub that does not answer None and nothing."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api = HfApi(endpoint=endpoint)
    ask = api.model_info if kind == "model" else api.dataset_info
    try:
        found = ask(name, timeout=TIMEOUT)
    except RepositoryNotFoundError:
        raise InvalidInputError(f"Hugging Face has no {kind} {name!r}.") from None
    except Exception:  # noqa: BLE001, RUF100  of whichever HTTP library this version uses
        return None, ()
    return found.sha, tuple(file.rfilename for file in found.siblings or ())
