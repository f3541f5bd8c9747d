"""Models of the hub, from a small hub on this machine: asked once, known by their commit, offline after."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.language import hub
from imm_rl.language.masked_checkpoint import (
    load_model,
    load_tokenizer,
    model_fingerprint,
    model_place,
)

NAME = "somebody/small-bert"
COMMITS = ("a" * 40, "b" * 40)


class Hub(ThreadingHTTPServer):
    """Hugging Face's hub with one model: its interface for what is there, and its files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.commit = folder, COMMITS[0]
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        place = self.path.partition("?")[0]
        self.server.asked.append(place)
        names = sorted(path.name for path in self.server.folder.iterdir())
        if place.startswith(f"/api/models/{NAME}/tree/"):
            self._send(
                json.dumps(
                    [{"type": "file", "path": name, "oid": "0", "size": 1} for name in names]
                ).encode()
            )
        elif place.startswith(f"/api/models/{NAME}"):
            files = [{"rfilename": name} for name in names]
            self._send(
                json.dumps({"id": NAME, "sha": self.server.commit, "siblings": files}).encode()
            )
        elif place.startswith(f"/{NAME}/resolve/") and place.split("/")[-1] in names:
            self._send((self.server.folder / place.split("/")[-1]).read_bytes())
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()

    def _send(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", self.server.commit)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def served(small_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    hub._asked.cache_clear()
    with Hub(small_bert) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.endpoint)
        files = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
    hub._asked.cache_clear()


def test_a_model_of_the_hub_is_fetched_once_and_known_by_its_commit(served: Hub) -> None:
    place = model_place(NAME)
    assert model_fingerprint(place) == f"{NAME}@{COMMITS[0]}"
    asked = len(served.asked)
    # What a training does, in this process or in another.
    assert load_model(place, 2).config.vocab_size == len(load_tokenizer(place))
    assert len(served.asked) == asked
    again = model_place(NAME)
    assert again == place
    assert served.asked.count(f"/api/models/{NAME}") == 1


def test_a_new_commit_is_another_model_and_the_old_one_is_found_offline(
    served: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = model_place(NAME)
    hub._asked.cache_clear()  # as in a new process
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert model_place(NAME) == first
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", served.endpoint)
    served.commit = COMMITS[1]
    assert model_fingerprint(model_place(NAME)) == f"{NAME}@{COMMITS[1]}"


def test_a_model_that_is_not_there_is_refused(served: Hub) -> None:
    with pytest.raises(InvalidInputError, match="has no model 'somebody/else'"):
        model_place("somebody/else")


def test_a_download_that_fails_is_one_line(
    served: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("no folder")
    with pytest.raises(RunFailedError, match="could not be downloaded: .*Repeat the command") as e:
        model_place(NAME)
    assert "\n" not in str(e.value)


def test_folders_that_are_no_snapshots_have_no_commit(tmp_path: Path) -> None:
    assert hub.commit_of(str(tmp_path / "snapshots" / "x")) is None
    assert hub.commit_of("/c/models--bert-base-uncased/snapshots/12ab") == "bert-base-uncased@12ab"
