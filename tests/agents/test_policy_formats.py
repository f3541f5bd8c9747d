"""Policies in the files of other tools: SARSOP's XML and pomdp-solve's text, in and out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import imm_rl
from imm_rl.agents.restricted import policy_numbers, policyx_files
from imm_rl.agents.restricted.alpha_vectors import OTHER_MODEL, AlphaVectorPolicy
from imm_rl.agents.restricted.policy_files import NO_BOUNDS, SUFFIXES, is_policy_file
from imm_rl.agents.simulation import discounted_returns
from imm_rl.envs import cassandra
from imm_rl.errors import InvalidInputError, RunFailedError
from imm_rl.statistics import mean_ci95

TIGER = imm_rl.make("tiger").model
LISTEN, LEFT, RIGHT = range(3)

POLICYX = """\
<?xml version="1.0" encoding="ISO-8859-1"?>
<Policy version="0.1" type="value" model="t.POMDP">
<AlphaVector vectorLength="2" numObsValue="1" numVectors="3">
<Vector action="1" obsValue="0">-81.5 28.25 </Vector>
<Vector action="0" obsValue="0">19.25
19.5 </Vector>
<SparseVector action="2" obsValue="0"><Entry>1 -3e2</Entry></SparseVector>
</AlphaVector> </Policy>
"""
ALPHA = "1\n-81.5 28.25 \n\n0\n19.25 19.5\n2\n\t0 -3e2\n\n"
VECTORS, ACTIONS = [[-81.5, 28.25], [19.25, 19.5], [0, -300]], [1, 0, 2]


def load(tmp_path: Path, name: str, text: str | bytes, model: Any = None) -> AlphaVectorPolicy:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return AlphaVectorPolicy.load(path, model)


def refused(tmp_path: Path, name: str, text: str | bytes, model: Any = None) -> str:
    """The message, without the path that it begins with."""
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path, name, text, model)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path / name}:")
    return message.removeprefix(f"{tmp_path / name}")


def policy(vectors: Any = VECTORS, actions: Any = ACTIONS, **options: Any) -> AlphaVectorPolicy:
    return AlphaVectorPolicy(vectors, actions, **options)


# In


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.policy", POLICYX), ("p.policyx", POLICYX), ("p.PolicyX", POLICYX), ("p.alpha", ALPHA)],
)
def test_load_takes_the_vectors_of_other_tools(name: str, text: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, name, text, TIGER)
    assert loaded.vectors.tolist() == VECTORS
    assert loaded.vector_actions.tolist() == ACTIONS
    assert loaded.execution == "lookahead"
    assert loaded.model is TIGER


@pytest.mark.parametrize(("name", "text"), [("p.policy", POLICYX), ("p.alpha", ALPHA)])
def test_load_claims_nothing_that_the_file_does_not_say(
    name: str, text: str, tmp_path: Path
) -> None:
    loaded = load(tmp_path, name, text, TIGER)
    assert loaded.lower_bound is loaded.upper_bound is loaded.gap is loaded.seconds is None
    assert loaded.fingerprint is None
    assert not loaded.converged
    assert loaded.notes == (NO_BOUNDS,)
    assert loaded.name == {"p.policy": "policyx file", "p.alpha": "alpha file"}[name]
    # Nor does the model it is loaded for become the model it was solved for, by way of a run's copy.
    loaded.save(tmp_path / "restricted.npz")
    other = imm_rl.make("tiger(accuracy=0.7)").model
    again = AlphaVectorPolicy.load(tmp_path / "restricted.npz", other)
    assert again.fingerprint is None
    assert OTHER_MODEL not in again.notes


@pytest.mark.parametrize(("name", "text"), [("p.policy", POLICYX), ("p.alpha", ALPHA)])
def test_load_without_a_model_acts_by_the_vectors(name: str, text: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, name, text)
    assert (loaded.execution, loaded.n_actions, loaded.model) == ("vectors", 3, None)
    assert loaded.probs(np.array([0.0, 1.0])).tolist() == [0, 1, 0]


def test_load_takes_the_number_of_actions_of_the_model(tmp_path: Path) -> None:
    listens = load(tmp_path, "p.alpha", "0\n-20 -20\n", TIGER)
    assert (listens.n_actions, load(tmp_path, "p.alpha", "0\n-20 -20\n").n_actions) == (3, 1)
    # One step ahead of −20 whatever follows: −1, or −45, and 0.95 · −20.
    np.testing.assert_allclose(listens.action_values(np.array([0.5, 0.5])), [-20, -64, -64])


@pytest.mark.parametrize(("name", "text"), [("p.policy", POLICYX), ("p.alpha", ALPHA)])
def test_load_refuses_a_model_of_another_size(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    sizes = "the policy is for 2 states and 3 actions; the model has 11 states and 4 actions"
    with pytest.raises(InvalidInputError, match=sizes) as caught:
        AlphaVectorPolicy.load(tmp_path / name, imm_rl.make("cheese").model)
    assert name in str(caught.value)
    (tmp_path / name).write_text(text.replace("2", "7", 1) if name == "p.alpha" else text)
    crying = imm_rl.make("crying-baby").model
    with pytest.raises(InvalidInputError, match="the model has 2 states and 2 actions"):
        AlphaVectorPolicy.load(tmp_path / name, crying)


def test_load_takes_policyx_without_what_other_writers_leave_out(tmp_path: Path) -> None:
    text = (
        '<Policy><!-- by hand --><AlphaVector vectorLength="1"><Vector action="0"> 5</Vector>'
        '<SparseVector action="1"/></AlphaVector></Policy>'
    )
    loaded = load(tmp_path, "p.policy", text)
    assert (loaded.vectors.tolist(), loaded.vector_actions.tolist()) == ([[5], [0]], [0, 1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # Not XML, or not whole
        (
            "</AlphaVector> </Policy>\n",
            "",
            ":8:1: is no whole XML file: no element found; expected",
        ),
        (POLICYX, "", ":1:1: is no whole XML file: no element found; expected a SARSOP policy."),
        (POLICYX, ALPHA, ":1:1: is no whole XML file: syntax error"),
        ("28.25 </Vector>", "28.25 </Vektor>", ":4:47: is no whole XML file: mismatched tag"),
        ('action="1"', "action=1", ":4:16: is no whole XML file: not well-formed"),
        ("ISO-8859-1", "ISO-88-1", ":1:31: cannot be decoded: unknown encoding: ISO-88-1."),
        # XML of another kind
        ("Policy", "pomdpx", ":2:1: expected <Policy>; found <pomdpx>."),
        ('type="value"', 'type="graph"', ":2:1: expected a policy of type 'value', alpha vectors;"),
        ("AlphaVector", "DAG", ":3:1: expected <AlphaVector>; found <DAG>."),
        (
            "</AlphaVector>",
            '</AlphaVector><AlphaVector vectorLength="2">',
            "expected one <AlphaVector>",
        ),
        (
            '<Vector action="1" obsValue="0">',
            '<Plane action="1">',
            ":4:1: expected <Vector> or <Sp",
        ),
        ("19.25\n", "<b/>", ":5:33: expected no tag in <Vector>; found <b>."),
        ("Entry", "Item", ":7:39: expected <Entry>; found <Item>."),
        (
            'numVectors="3">',
            'numVectors="3">5',
            ":4:1: expected tags alone in <AlphaVector>; found",
        ),
        # Attributes
        (
            ' vectorLength="2"',
            "",
            ":3:1: expected a whole number ≥ 1 for vectorLength; found none.",
        ),
        (
            'Length="2"',
            'Length="2.5"',
            ":3:1: expected a whole number ≥ 1 for vectorLength; found '2",
        ),
        (
            'Length="2"',
            'Length="0"',
            ":3:1: expected a whole number ≥ 1 for vectorLength; found '0'",
        ),
        ('Length="2"', 'Length="999999999"', ":4:1: expected at most 250,000,000 numbers in all"),
        ('action="1" ', "", ":4:1: expected a whole number ≥ 0 for action; found none."),
        ('action="1"', 'action="-1"', ":4:1: expected a whole number ≥ 0 for action; found '-1'."),
        (
            'action="1"',
            'action="1000001"',
            ":4:1: expected an action up to 1,000,000; found 1000001",
        ),
        (
            'ObsValue="1"',
            'ObsValue="3"',
            ":3:1: expected numObsValue 1; found 3: a policy for mixed",
        ),
        (
            'obsValue="0">-',
            'obsValue="2">-',
            ":4:1: expected obsValue 0, as numObsValue is 1; found",
        ),
        # Numbers
        (
            "-81.5 28.25",
            "-81.5",
            ":4:39: expected 2 numbers in <Vector>, as vectorLength says; found 1",
        ),
        ("28.25", "28.25 1", "expected 2 numbers in <Vector>, as vectorLength says; found 3."),
        (
            'numVectors="3"',
            'numVectors="4"',
            ":8:1: expected 4 vectors, as numVectors says; found 3.",
        ),
        (
            'numVectors="3"',
            'numVectors="2"',
            ":8:1: expected 2 vectors, as numVectors says; found 3.",
        ),
        ("28.25", "nan", ":4: expected a finite number; found 'nan'."),
        ("28.25", "-inf", ":4: expected a finite number; found '-inf'."),
        ("28.25", "1e999", ":4: expected a finite number; found '1e999'."),
        ("28.25", "2_8", ":4: expected a finite number; found '2_8'."),
        ("28.25", "2٣", ":4: expected a finite number; found"),
        ("19.5", "x", ":6: expected a finite number; found 'x'."),
        ("19.25\n", "y\n", ":5: expected a finite number; found 'y'."),
        ("1 -3e2", "1", ":7:47: expected a state and a number in <Entry>; found 1 numbers."),
        ("1 -3e2", "2 -3e2", ":7:52: expected a state from 0 to 1 in <Entry>; found 2."),
        ("1 -3e2", "0.5 -3e2", "expected a state from 0 to 1 in <Entry>; found 0.5."),
        ("1 -3e2", "1 nan", ":7: expected a finite number; found 'nan'."),
        ("</Entry>", "</Entry><Entry>1 2</Entry>", "expected each state once in <SparseVector>; f"),
    ],
)
def test_load_refuses_malformed_policyx_at_its_line(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in POLICYX
    assert message in refused(tmp_path, "p.policy", POLICYX.replace(old, new))


def test_load_refuses_policyx_without_vectors(tmp_path: Path) -> None:
    text = '<Policy><AlphaVector vectorLength="2"></AlphaVector></Policy>'
    assert "expected at least one <Vector>; found none" in refused(tmp_path, "p.policy", text)


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "doctype",
    [
        f'<!DOCTYPE Policy [<!ENTITY l0 "1 ">{LAUGHS}]>',
        '<!DOCTYPE Policy [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE Policy SYSTEM "http://127.0.0.1:9/policy.dtd">',
        "<!DOCTYPE Policy>",
    ],
)
def test_load_refuses_every_doctype_and_with_it_entities(doctype: str, tmp_path: Path) -> None:
    text = POLICYX.replace("<Policy", f"{doctype}\n<Policy").replace("28.25", "&l9;")
    assert refused(tmp_path, "p.policy", text).startswith(":2:")
    assert "expected no DOCTYPE and no entities" in refused(tmp_path, "p.policy", text)


def test_load_refuses_an_entity_that_is_nowhere_declared(tmp_path: Path) -> None:
    message = refused(tmp_path, "p.policy", POLICYX.replace("28.25", "&l9;"))
    assert message.startswith(":4:39: is no whole XML file: undefined entity")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: expected an action and its vector; found the end of the file."),
        ("\n\n", ":2: expected an action and its vector; found the end of the file."),
        ("1\n", ":1: expected the numbers of its last vector; found the end of the file."),
        (
            "1\n1 2\n\n0\n\n",
            ":5: expected the numbers of its last vector; found the end of the file.",
        ),
        ("1.5\n1 2\n", ":1: expected an action, a whole number alone on its line; found '1.5'."),
        ("-1\n1 2\n", "whole number alone on its line; found '-1'."),
        ("1000001\n1 2\n", "found '1000001'."),
        (
            "0\n1 2\n3 4\n",
            ":3: expected an action, a whole number alone on its line, after vector 1; ",
        ),
        ("0 1 2\n", ":1: expected an action, a whole number alone on its line; found 3 words."),
        ("0\n1 2\n\n1\n1 2 3\n", ":5: expected 2 numbers, as the first vector has; found 3."),
        ("0\n1 2\n\n1\n1\n", ":5: expected 2 numbers, as the first vector has; found 1."),
        ("0\n1 nan\n", ":2:3: expected a finite number; found 'nan'."),
        ("0\n1  1e999\n", ":2:4: expected a finite number; found '1e999'."),
        ("0\n1 two\n", ":2:3: expected a finite number; found 'two'."),
        (
            "0\n1 " + "9" * 30 + "x" * 99,
            ":2:3: expected a finite number; found '" + "9" * 30 + "xxx",
        ),
        (POLICYX, ":1: expected an action, a whole number alone on its line; found 3 words."),
        (b"0\n1 2\n\xff\xfe\n", ": is no text: invalid start byte; expected a pomdp-solve .alpha"),
    ],
)
def test_load_refuses_malformed_alpha_at_its_line(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    assert message in refused(tmp_path, "p.alpha", text)


def test_load_refuses_more_numbers_than_memory_is_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("pomdp_solve_files", "policyx_files"):
        monkeypatch.setattr(f"imm_rl.agents.restricted.{module}.MAX_NUMBERS", 5)
    assert refused(tmp_path, "p.alpha", ALPHA).startswith(":7: expected at most 5 numbers in all")
    assert refused(tmp_path, "p.policy", POLICYX).startswith(":7:1: expected at most 5 numbers")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_load_refuses_what_is_no_file(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"folder{suffix}").mkdir()
    for name in ("none", "folder"):
        with pytest.raises(InvalidInputError, match="policy file must exist; received"):
            AlphaVectorPolicy.load(tmp_path / f"{name}{suffix}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_load_refuses_a_file_without_rights(tmp_path: Path) -> None:
    for name in ("p.alpha", "p.policy"):
        (tmp_path / name).touch(mode=0)
        with pytest.raises(InvalidInputError, match="cannot be read: Permission denied"):
            AlphaVectorPolicy.load(tmp_path / name)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), name=st.sampled_from(["p.policy", "p.alpha"]))
def test_load_refuses_damaged_files_with_its_own_error_only(
    data: st.DataObject, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray((POLICYX if name == "p.policy" else ALPHA).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        first = data.draw(st.integers(0, max(len(content) - 1, 0)))
        content[first : first + data.draw(st.integers(0, 9))] = data.draw(
            st.sampled_from(
                [b"", b"<", b">", b"&", b'"', b"0", b"-1", b" ", b"\n", b"\xe9", b"\0", b"e"]
            )
        )
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(content)
    try:
        message = f"{path}: {AlphaVectorPolicy.load(path)}"
    except InvalidInputError as error:
        message = str(error)
    assert message.startswith(f"{path}:")


# Out


@settings(max_examples=60, deadline=None)
@given(
    vectors=st.integers(1, 4).flatmap(
        lambda n_states: st.lists(
            st.lists(
                st.one_of(
                    st.sampled_from([0.0, -0.0]), st.floats(allow_nan=False, allow_infinity=False)
                ),
                min_size=n_states,
                max_size=n_states,
            ),
            min_size=1,
            max_size=4,
        )
    ),
    form=st.sampled_from([*SUFFIXES, "sparse"]),
)
def test_save_and_load_give_the_numbers_again_bit_for_bit(
    vectors: list[list[float]], form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("saved") / f"p{'.policyx' if form == 'sparse' else form}"
    saved = policy(vectors, [3 * i for i in range(len(vectors))])
    saved.save(path, sparse=form == "sparse")
    loaded = AlphaVectorPolicy.load(path)
    assert loaded.vectors.tobytes() == saved.vectors.tobytes()
    assert loaded.vectors.shape == saved.vectors.shape
    assert loaded.vector_actions.tolist() == saved.vector_actions.tolist()


def test_save_writes_policyx_as_sarsop_does(tmp_path: Path) -> None:
    policy([[0.0, 1.5], [-2.0, 0.0]], [1, 0]).save(tmp_path / "p.policy")
    head = (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
        '<Policy version="0.1" type="value" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:noNamespaceSchemaLocation="policyx.xsd">\n'
        '<AlphaVector vectorLength="2" numObsValue="1" numVectors="2">\n'
    )
    assert (tmp_path / "p.policy").read_text() == (
        f'{head}<Vector action="1" obsValue="0">0.0 1.5 </Vector>\n'
        '<Vector action="0" obsValue="0">-2.0 0.0 </Vector>\n'
        "</AlphaVector> </Policy>\n"
    )
    policy([[0.0, 1.5], [-2.0, 0.0]], [1, 0]).save(tmp_path / "p.policy", sparse=True)
    assert (tmp_path / "p.policy").read_text() == (
        f'{head}<SparseVector action="1" obsValue="0"><Entry>1 1.5</Entry></SparseVector>\n'
        '<SparseVector action="0" obsValue="0"><Entry>0 -2.0</Entry></SparseVector>\n'
        "</AlphaVector> </Policy>\n"
    )


def test_save_writes_alpha_as_pomdp_solve_does(tmp_path: Path) -> None:
    policy([[0.0, 1.5], [-2.0, 0.1]], [1, 0]).save(tmp_path / "p.alpha")
    assert (tmp_path / "p.alpha").read_text() == "1\n0.0 1.5\n\n0\n-2.0 0.1\n\n"


@pytest.mark.parametrize("name", ["p.alpha", "p.npz"])
def test_save_refuses_sparse_vectors_where_the_format_has_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"sparse must be left out unless a \.policy or"):
        policy().save(tmp_path / name, sparse=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["policy.txt", "policy", "alpha", ".alpha", "policy.alpha.gz"])
def test_save_and_load_refuse_other_endings(name: str, tmp_path: Path) -> None:
    wanted = r"policy file must be named \.npz, \.policy, \.policyx or \.alpha; received"
    with pytest.raises(InvalidInputError, match=wanted):
        policy().save(tmp_path / name)
    with pytest.raises(InvalidInputError, match=wanted):
        AlphaVectorPolicy.load(tmp_path / name)
    assert not is_policy_file(name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_save_that_fails_keeps_the_old_file(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"p{suffix}"
    policy().save(path)
    old = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunFailedError, match="could not be written: No space left"):
        policy([[1.0]], [0]).save(path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_write_takes_vectors_one_by_one(tmp_path: Path) -> None:
    rows = ((action, np.full(2, float(action))) for action in range(3))
    policyx_files.write(tmp_path / "p.policy", rows, n_states=2, n_vectors=3)
    vectors, actions = policyx_files.read(tmp_path / "p.policy")
    assert (vectors.tolist(), actions.tolist()) == ([[0, 0], [1, 1], [2, 2]], [0, 1, 2])


def test_numbers_are_the_ones_that_float_reads(tmp_path: Path) -> None:
    assert policy_numbers.numbers(" 1 .5\n-2. +3e-1\t").tolist() == [1, 0.5, -2, 0.3]
    assert policy_numbers.numbers("").size == 0


# The archive's policies


@pytest.mark.parametrize(
    ("name", "model", "value", "digits"),
    [
        ("1d.alpha", "1d", 1.2603, 4),
        ("1d.policyx", "1d", 1.2603, 4),
        ("mini-hall2.policyx", "mini-hall2", 2.714, 3),
        ("shuttle.95.policyx", "shuttle.95", 32.889, 3),
        ("tiger.95.alpha", "tiger.95", 19.371, 3),
        ("tiger.95.policyx", "tiger.95", 19.371, 3),
    ],
)
def test_load_gives_the_archives_values_and_they_are_earned(
    name: str, model: str, value: float, digits: int, shared_data: Path
) -> None:
    pomdp = cassandra.read(shared_data / "pomdp" / f"{model}.POMDP")
    loaded = AlphaVectorPolicy.load(shared_data / "policies" / name, pomdp)
    promised = float(loaded.value(pomdp.initial))
    assert promised == pytest.approx(value, abs=0.6 * 10**-digits)
    for execution in ("lookahead", "vectors"):
        returns = discounted_returns(
            pomdp, loaded.with_(execution=execution), episodes=2000, seed=1
        )
        mean, low, high = mean_ci95(returns)
        assert abs(mean - promised) < high - low  # twice the interval: a miss in 10,000


def test_save_and_load_give_the_archives_policies_again(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "policies").iterdir())
    assert len(files) >= 6
    for file in files:
        first = AlphaVectorPolicy.load(file)
        for suffix in SUFFIXES:
            first.save(tmp_path / f"p{suffix}")
            again = AlphaVectorPolicy.load(tmp_path / f"p{suffix}")
            assert again.vectors.tobytes() == first.vectors.tobytes()
            assert (again.vector_actions == first.vector_actions).all()
