"""Makes a corpus of 900,000 words where there is no network but a Debian mirror: the King James Bible.

    python scripts/bible_corpus.py OUT_DIR
    python -c "from imm_rl.language.corpus import load_corpus; print(load_corpus('OUT_DIR').about())"

Writes train.txt, valid.txt and test.txt, one verse a line, in lower case, words and punctuation between
blanks. Chapters are dealt to the parts, 80/10/10 by words, in a pseudo-random order that is always the
same, so that every book is in every part. The text is that of Debian's package bible-kjv-text (public
domain outside the United Kingdom). Where the program `bible` is not installed, the packages are fetched
with apt-get into a temporary folder and unpacked there; nothing is installed and no rights are needed.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imm_rl.errors import ImmRlError, RunFailedError
from imm_rl.files import write_text
from imm_rl.language.tokens import words

PACKAGES = ("bible-kjv", "bible-kjv-text")
EVERYTHING = "Gen1:1-Rev22:21"
VERSE = re.compile(r"(?P<chapter>\w+):\d+ (?P<text>.*)")  # "Ge1:3 And God said, Let there be light"
BY_HAND = "Install it (apt-get install bible-kjv), or give load_corpus another folder of text"

Chapters = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    out: Path = parser.parse_args().out
    try:
        out.mkdir(parents=True, exist_ok=True)
        for part, lines in zip(("train", "valid", "test"), dealt(chapters(text())), strict=True):
            write_text(out / f"{part}.txt", "".join(f"{line}\n" for line in lines))
            count = sum(line.count(" ") + 1 for line in lines)
            print(f"{out / part}.txt: {len(lines):,} verses, {count:,} words")
    except (ImmRlError, OSError) as error:
        sys.exit(f"bible_corpus: {error}")


def text() -> str:
    """All verses, one a line, each after its place."""
    installed = shutil.which("bible")
    if installed:
        return run([installed, "-f", EVERYTHING])
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise RunFailedError(f"there is no program bible, and no apt-get to fetch it. {BY_HAND}.")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(["apt-get", "download", *PACKAGES], folder)
        for package in folder.glob("*.deb"):
            run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")])
        usr = folder / "unpacked" / "usr"
        # The program looks for its text in the folder it is started in before it looks in /usr/lib.
        return run([str(usr / "bin" / "bible"), "-f", EVERYTHING], usr / "lib")


def run(command: Sequence[str], folder: Path | None = None) -> str:
    """What a command prints.

    Raises:
        RunFailedError: It cannot be started, or fails.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunFailedError(f"{command[0]} failed: {error}. {BY_HAND}.") from None
    if done.returncode != 0:
        # Of the program's libraries, libreadline may be missing; the loader's message says so.
        why = (done.stderr.strip() or f"exit status {done.returncode}").rstrip(".")
        raise RunFailedError(f"{' '.join(command)} failed: {why}. {BY_HAND}.")
    return done.stdout


def chapters(printed: str) -> Chapters:
    """Chapter, e.g. "Ge1" -> its verses, tokenised."""
    found: Chapters = {}
    for line in printed.splitlines():
        if match := VERSE.fullmatch(line.strip()):
            found.setdefault(match["chapter"], []).append(" ".join(words(match["text"])))
    if not found:
        raise RunFailedError("the program bible printed no verses; received " + repr(printed[:80]))
    return found


def dealt(by_chapter: Chapters) -> list[list[str]]:
    """Verses of the three parts: whole chapters, in the order of a hash of their name."""
    sizes = {name: sum(map(len, verses)) for name, verses in by_chapter.items()}
    total, before = sum(sizes.values()), 0
    part_of: dict[str, int] = {}
    for name in sorted(by_chapter, key=lambda name: hashlib.sha256(name.encode()).digest()):
        part_of[name] = 0 if before < 0.8 * total else 1 if before < 0.9 * total else 2
        before += sizes[name]
    return [
        [verse for name, verses in by_chapter.items() if part_of[name] == part for verse in verses]
        for part in range(3)
    ]


if __name__ == "__main__":
    main()
