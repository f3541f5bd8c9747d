from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from imm_rl.errors import InvalidInputError
from imm_rl.formats import read_yaml, to_csv, to_json


def test_to_csv_has_a_column_for_each_name_and_blanks() -> None:
    rows = [{"env_steps": 10, "a": 0.1}, {"env_steps": 20, "a": math.nan, "b": 1e-9}]

    assert to_csv(rows) == "env_steps,a,b\n10,0.1,\n20,,1e-09\n"


def test_to_json_keeps_lists_of_numbers_on_a_line_and_texts_as_they_are() -> None:
    values = {"x": [1, 2.5, None], "text": "[ a\n b ]", "texts": ["a  b", "[  ]"], "empty": []}

    text = to_json(values)

    assert '"x": [1, 2.5, null]' in text
    assert json.loads(text) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "line 2: malformed YAML"),
        ("a: 1\n\tb: 2\n", "line 2: malformed YAML"),
        ("- 1\n- 2\n", "names with values"),
        ("just text", "names with values"),
        ("1: 2\n", "names with values"),
        ("a: !!python/object/apply:os.getcwd []\n", "malformed YAML"),
    ],
)
def test_read_yaml_refuses_what_is_no_configuration(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "f.yaml").write_text(text)

    with pytest.raises(InvalidInputError, match=message):
        read_yaml(tmp_path / "f.yaml")


def test_read_yaml_names_the_file_when_it_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")

    with pytest.raises(InvalidInputError, match=r"none\.yaml: No such file"):
        read_yaml(tmp_path / "none.yaml")
    with pytest.raises(InvalidInputError, match=r"latin\.yaml: it is not UTF-8 text"):
        read_yaml(tmp_path / "latin.yaml")


def test_read_yaml_takes_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("# nothing\n")

    assert read_yaml(tmp_path / "f.yaml") == {}
