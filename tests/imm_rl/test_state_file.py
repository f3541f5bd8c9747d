from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.state_file import read_identity, read_state, state_part, with_prefix, write_state

IDENTITY = {"env": "tiger", "seeds": [3, 4], "settings": {"gamma": 0.9, "steps": 5}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    arrays = {"a/b": np.array([1.5, np.nan]), "text": np.array("λ"), "empty": np.zeros((0, 2))}
    write_state(tmp_path / "state.npz", IDENTITY, arrays)
    return tmp_path / "state.npz"


def test_a_state_comes_back(path: Path) -> None:
    state = read_state(path, IDENTITY)
    assert state.keys() == {"identity", "a/b", "text", "empty"}
    np.testing.assert_array_equal(state["a/b"], [1.5, np.nan])
    assert (str(state["text"]), state["empty"].shape) == ("λ", (0, 2))
    identity, same = read_identity(path, "it")
    assert identity == IDENTITY
    assert same.keys() == state.keys()


def test_a_state_may_have_been_made_with_more_than_is_asked(path: Path) -> None:
    assert "text" in read_state(path, {"env": "tiger"})


@pytest.mark.parametrize(
    ("mine", "message"),
    [
        ({**IDENTITY, "env": "cheese"}, "env was 'tiger' and is 'cheese'"),
        ({**IDENTITY, "seeds": [3]}, r"seeds was \[3, 4\] and is \[3\]"),
        ({**IDENTITY, "agent": "ppo"}, "agent was None and is 'ppo'"),
        (
            {**IDENTITY, "settings": {"gamma": 0.9, "steps": 6}},
            r"settings was {'steps': 5} and is {'steps': 6}",
        ),
        ({**IDENTITY, "settings": {"gamma": 0.9}}, r"settings was {'steps': 5} and is {}"),
        ({**IDENTITY, "settings": 3}, "settings was {.* and is 3"),
    ],
)
def test_a_state_of_another_training_is_refused(
    path: Path, mine: dict[str, object], message: str
) -> None:
    with pytest.raises(
        InvalidInputError, match=f"{path} is a checkpoint of another agent: {message}"
    ):
        read_state(path, mine)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_what_is_no_state_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError) as refused:
        read_state(path, IDENTITY)
    assert str(refused.value) == f"{path} is no checkpoint of an agent: it is no whole .npz file."
    with pytest.raises(
        InvalidInputError, match=f"{path} is no checkpoint of a model: it is no whole"
    ):
        read_identity(path, "a model")


def test_a_state_that_is_cut_anywhere_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(InvalidInputError, match="is no checkpoint of an agent"):
            read_state(path, IDENTITY)


def test_a_state_with_a_byte_changed_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(np.array([1.5]).tobytes())] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InvalidInputError, match="is no checkpoint of an agent: Bad CRC-32"):
        read_state(path, IDENTITY)


def test_other_files_of_numpy_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    np.savez(tmp_path / "list.npz", identity=np.array("[3]"))
    np.savez(tmp_path / "words.npz", identity=np.array("tiger"))
    for name, reason in (
        ("array.npy", "it is no whole .npz file"),
        ("arrays.npz", "it has no entry 'identity'"),
        ("list.npz", "its identity is no mapping"),
        ("words.npz", "Expecting value"),
        ("none.npz", "No such file"),
    ):
        with pytest.raises(
            InvalidInputError, match=f"{name} is no checkpoint of an agent: .*{reason}"
        ):
            read_state(tmp_path / name, IDENTITY)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    np.savez(path, identity=np.array("{}"), a=np.array([{}], dtype=object))
    with pytest.raises(InvalidInputError, match="is no checkpoint of an agent: Object arrays"):
        read_state(path, {})


def test_a_state_is_written_whole_or_not_at_all(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()

    def full(*args: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(RunFailedError, match="No space left on device"):
        write_state(path, IDENTITY, {"a": np.zeros(3)})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["state.npz"]


def test_parts_of_a_state_come_apart_again() -> None:
    whole = {**with_prefix("own", {"a": 1, "b/c": 2}), **with_prefix("owner", {"a": 3}), "own": 4}
    assert whole == {"own/a": 1, "own/b/c": 2, "owner/a": 3, "own": 4}
    assert state_part("own", whole) == {"a": 1, "b/c": 2}
    assert state_part("own/b", whole) == {"c": 2}
    assert state_part("other", whole) == {}
