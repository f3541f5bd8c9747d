"""Published corpora, downloaded into the cache at first use: where from, and how to know them."""

from __future__ import annotations

from pathlib import Path


def names() -> tuple[str, ...]:
    """What `load_corpus` takes by name and downloads."""
    return ("ptb", "wikitext-2")


def folder(name: str, cache: str | Path | None = None) -> Path:
    """The folder with the corpus's files."""
    return Path(cache or ".") / name
