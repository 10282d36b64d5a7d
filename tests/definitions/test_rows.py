"""Every row F1-F26 and every cell of types and operators has a test that is named after it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greenroom.definitions.operands import OPERANDS
from tests.definitions.test_conditions import OPERATORS, test_operators

TESTS = Path(__file__).parents[1]
NAMES = {
    name
    for file in TESTS.rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE)
}


@pytest.mark.parametrize("row", [f"F{number}" for number in range(1, 27)])
def test_the_row_has_a_test(row: str) -> None:
    assert any(row in name.split("_") for name in NAMES)


def test_every_cell_is_one_of_the_table_that_is_tried_with_a_yes_and_a_no() -> None:
    cells = {(kind, one) for kind, operand in OPERANDS.items() for one in operand.operators}
    assert cells == {(kind, one) for kind, operators in OPERATORS.items() for one in operators}
    (mark,) = test_operators.pytestmark
    assert cells == {(kind, operator) for kind, operator, *_ in mark.args[1]}
