"""The user's own words for the operands of an operator, for hints."""

from __future__ import annotations

import ast

from mlc.ir.graph.node import current_table

OPERATORS: dict[str, type[ast.operator]] = {
    "add": ast.Add, "subtract": ast.Sub, "multiply": ast.Mult, "divide": ast.Div, "floor_divide": ast.FloorDiv,
    "remainder": ast.Mod, "pow": ast.Pow, "matmul": ast.MatMult,
}  # fmt: skip


def written_operands(name: str) -> tuple[str, str]:
    """What stands left and right of the operator that calls ``name`` on the current line, where it is there once;
    else ``lhs`` and ``rhs``."""
    locations = current_table().current
    text = locations[0].text if locations else ""
    for prefix, suffix in (("", ""), ("def f(): ", ""), ("", " pass")):
        try:
            parsed = ast.parse(prefix + text + suffix)
        except SyntaxError:
            continue
        kind = OPERATORS.get(name)
        found = [n for n in ast.walk(parsed) if isinstance(n, ast.BinOp) and kind and isinstance(n.op, kind)]
        if len(found) == 1:
            return _in_parentheses(found[0].left), _in_parentheses(found[0].right)
    return "lhs", "rhs"


def _in_parentheses(side: ast.expr) -> str:
    text = ast.unparse(side)
    return text if isinstance(side, ast.Name | ast.Attribute | ast.Subscript | ast.Call | ast.Constant) else f"({text})"
