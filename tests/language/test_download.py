from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.files import cache_folder
from imm_rl.language import public_corpora
from imm_rl.language.corpus import load_corpus
from imm_rl.language.download import fetch
from imm_rl.language.public_corpora import Remote

DATA = bytes(range(256)) * 1000
SHA = hashlib.sha256(DATA).hexdigest()


class _Server(ThreadingHTTPServer):
    """Serves `files`; `cut` bytes of a whole answer at most, and Range requests where `ranges`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"/data.bin": DATA}
        self.cut: int | None = None
        self.ranges = True
        self.asked: list[str | None] = []

    def url(self, path: str = "/data.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append(wanted)
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        begin = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
        if begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin:][: server.cut])

    def log_message(self, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_fetch_downloads_a_file_once(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "data.bin"

    assert fetch(server.url(), path, size=len(DATA), sha256=SHA).read_bytes() == DATA
    fetch(server.url(), path, md5="is not asked for again")

    assert _left(path.parent) == ["data.bin"]
    assert server.asked == [None]


def test_fetch_goes_on_after_a_connection_that_was_cut(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    server.cut = 100_000
    with pytest.raises(RunFailedError, match="after 100,000 of 256,000 bytes; they are kept"):
        fetch(server.url(), path, size=len(DATA), sha256=SHA)
    assert _left(tmp_path) == ["data.bin.part"]
    server.cut = None

    fetch(server.url(), path, md5=hashlib.md5(DATA).hexdigest())

    assert path.read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-"]


def test_fetch_starts_anew_when_the_server_sends_no_ranges(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    server.ranges = False

    assert fetch(server.url(), tmp_path / "data.bin", sha256=SHA).read_bytes() == DATA


def test_fetch_starts_anew_when_the_part_is_as_long_as_the_file(
    server: _Server, tmp_path: Path
) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * len(DATA))

    assert fetch(server.url(), tmp_path / "data.bin", sha256=SHA).read_bytes() == DATA
    assert server.asked == [f"bytes={len(DATA)}-", None]


def test_fetch_needs_no_server_when_the_part_is_whole(tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(DATA)

    fetch("http://127.0.0.1:9/never", tmp_path / "data.bin", size=len(DATA), sha256=SHA)

    assert _left(tmp_path) == ["data.bin"]


@pytest.mark.parametrize(
    ("size", "sha256", "message"),
    [
        (len(DATA), "0" * 64, f"its sha256 is {SHA}, 0000.* deleted"),
        (len(DATA) + 1, SHA, "256,000 bytes came, 256,001 were expected.* deleted"),
        (1000, SHA, "bytes came, 1,000 were expected.* deleted"),
    ],
)
def test_fetch_deletes_what_is_not_the_file(
    server: _Server, tmp_path: Path, size: int, sha256: str, message: str
) -> None:
    with pytest.raises(RunFailedError, match=message):
        fetch(server.url(), tmp_path / "data.bin", size=size, sha256=sha256)

    assert _left(tmp_path) == []


def test_fetch_stops_when_the_server_sends_more_than_the_size(
    server: _Server, tmp_path: Path
) -> None:
    with pytest.raises(RunFailedError, match="65,536 bytes came, 1,000 were expected"):
        fetch(server.url(), tmp_path / "data.bin", size=1000, sha256=SHA)


def test_fetch_names_every_address_and_the_way_by_hand(server: _Server, tmp_path: Path) -> None:
    with _Server() as other:
        refused = other.url()  # a port that nobody listens to any more
    urls = [server.url("/none"), refused]

    with pytest.raises(RunFailedError) as caught:
        fetch(urls, tmp_path / "data.bin", sha256=SHA)

    text = str(caught.value)
    assert f"{urls[0]}: the server answers 404" in text
    assert f"{refused}: Connection refused" in text
    assert "download it yourself and give the folder it lies in: --corpus DIR" in text


def test_fetch_takes_the_next_address_when_one_fails(server: _Server, tmp_path: Path) -> None:
    server.files["/other"] = b"something else"
    urls = [server.url("/none"), server.url("/other"), server.url()]

    assert fetch(urls, tmp_path / "data.bin", sha256=SHA).read_bytes() == DATA


def test_fetch_gives_up_a_server_that_says_nothing(server: _Server, tmp_path: Path) -> None:
    with _Server() as silent, pytest.raises(RunFailedError, match="no answer in time"):
        fetch(silent.url(), tmp_path / "data.bin", sha256=SHA, timeout=0.05)  # serves nothing yet


def test_fetch_of_several_at_once_downloads_once(server: _Server, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        path = tmp_path / "data.bin"
        found = list(pool.map(lambda _: fetch(server.url(), path, sha256=SHA), range(4)))

    assert all(path.read_bytes() == DATA for path in found)
    assert server.asked == [None]


def test_fetch_refuses_what_it_cannot_check_or_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidInputError, match="must have a checksum"):
        fetch("http://127.0.0.1:9/", tmp_path / "data.bin")
    with pytest.raises(InvalidInputError, match="cannot write downloads to .*IMM_RL_CACHE"):
        fetch("http://127.0.0.1:9/", tmp_path / "file" / "data.bin", sha256=SHA)
    (tmp_path / "data.bin.part").mkdir()
    with pytest.raises(RunFailedError, match=r"data\.bin\.part could not be written"):
        fetch("http://127.0.0.1:9/", tmp_path / "data.bin", size=1, sha256=SHA)


def _remote(server: _Server, name: str, content: bytes, members: dict[str, str]) -> Remote:
    server.files[f"/{name}"] = content
    sha256 = hashlib.sha256(content).hexdigest()
    return Remote((server.url(f"/{name}"),), len(content), sha256, members)


def test_load_corpus_downloads_ptb_once(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"train": " no it was n't black <unk> N \n", "valid": " it was N \n", "test": " no \n"}
    remotes = {
        name: _remote(server, name, text.encode(), {})
        for name, text in ((f"ptb.{part}.txt", text) for part, text in texts.items())
    }
    monkeypatch.setitem(public_corpora.REMOTES, "ptb", remotes)

    corpus = load_corpus("ptb", cache=tmp_path)

    assert corpus.name == "ptb"
    assert corpus.vocabulary.decode(corpus.valid) == ["it", "was", "N", "<eos>"]
    assert _left(tmp_path / "ptb") == ["ptb.test.txt", "ptb.train.txt", "ptb.valid.txt"]
    assert load_corpus("ptb", cache=tmp_path).fingerprint() == corpus.fingerprint()
    assert len(server.asked) == 3


def _zip(members: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


def test_load_corpus_unpacks_of_wikitext_2_what_belongs_to_it(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = public_corpora.REMOTES["wikitext-2"]["wikitext-2-v1.zip"].members
    texts = dict.fromkeys(members, " \n = Title = \n \n the <unk> of 1 @,@ 000 \n")
    remote = _remote(
        server, "w.zip", _zip({**texts, "../evil.txt": "x", "wikitext-2/y": "x"}), members
    )
    monkeypatch.setitem(public_corpora.REMOTES, "wikitext-2", {"wikitext-2-v1.zip": remote})
    monkeypatch.setenv("IMM_RL_CACHE", str(tmp_path))

    corpus = load_corpus("wikitext-2")

    assert " ".join(corpus.vocabulary.decode(corpus.test)) == (
        "= Title = <eos> the <unk> of 1 @,@ 000 <eos>"
    )
    assert _left(tmp_path) == ["wikitext-2"]
    assert _left(tmp_path / "wikitext-2") == [
        "wiki.test.tokens",
        "wiki.train.tokens",
        "wiki.valid.tokens",
        "wikitext-2-v1.zip",
    ]
    load_corpus("wikitext-2")
    assert len(server.asked) == 1


def test_folder_says_when_a_zip_lacks_a_member(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = _remote(server, "w.zip", _zip({"a": "x"}), {"b": "b"})
    monkeypatch.setitem(public_corpora.REMOTES, "wikitext-2", {"w.zip": remote})

    with pytest.raises(RunFailedError, match=r"cannot unpack .*w\.zip: .*'b'"):
        public_corpora.folder("wikitext-2", tmp_path)
    with pytest.raises(InvalidInputError, match="unknown corpus 'ptc'. Did you mean 'ptb'"):
        public_corpora.folder("ptc", tmp_path)


def test_addresses_are_distinct_and_checksums_whole() -> None:
    remotes = [remote for files in public_corpora.REMOTES.values() for remote in files.values()]

    assert all(re.fullmatch(r"[0-9a-f]{64}", remote.sha256) for remote in remotes)
    assert all(url.startswith("https://") for remote in remotes for url in remote.urls)
    assert len({remote.sha256 for remote in remotes}) == len(remotes)


def test_cache_folder_is_the_argument_or_the_variable_or_in_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("IMM_RL_CACHE", str(tmp_path))
    assert cache_folder("a/b") == Path("a/b")
    assert cache_folder() == tmp_path
    monkeypatch.delenv("IMM_RL_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "imm-rl"
