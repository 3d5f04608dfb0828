"""Print, as JSON, the changes of a module: `python changes.py MODULE`, where Cosmic Ray is.

Of Cosmic Ray's operators those that a slip of the hand could be, and one of our own: a statement
that is left out. What changes only types or decorators is no change, and neither is what does not
parse or is one that came before.
"""

import ast
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator

CHOSEN = (
    *("AddNot", "ReplaceUnaryOperator_Delete_Not", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    *("ExceptionReplacer", "NumberReplacer", "ReplaceUnaryOperator_USub_UAdd"),
    *(f"ReplaceComparisonOperator_{one}" for one in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot")),
    *(f"ReplaceComparisonOperator_{one}" for one in ("IsNot_Is", "Lt_LtE", "LtE_Lt")),
    *(f"ReplaceComparisonOperator_{one}" for one in ("Gt_GtE", "GtE_Gt")),
    *(f"ReplaceBinaryOperator_{one}" for one in ("Add_Sub", "Sub_Add", "Mul_FloorDiv", "Div_Mul")),
    *(f"ReplaceBinaryOperator_{one}" for one in ("FloorDiv_Mul", "Mod_Mul", "Pow_Mul")),
    *(f"ReplaceBinaryOperator_{one}" for one in ("RShift_LShift", "LShift_RShift")),
    *(f"ReplaceBinaryOperator_{one}" for one in ("BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitOr")),
)

_DOTTED = re.compile(r"\wCosmicRay")  # it takes `json.JSONDecodeError` in an `except` for two names


class LeaveOut(Operator):  # type: ignore[misc]
    """Leave out a call, a raise, a deletion, or an assignment to something that exists."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where such a statement stands."""
        if node.type != "simple_stmt":
            return
        statement = node.children[0]
        assigns = statement.type == "expr_stmt" and (
            statement.children[0].type in ("atom_expr", "power")
            or (
                statement.children[1].type == "operator"
                and statement.children[1].value not in ("=", ":")
            )
        )
        if assigns or statement.type in ("atom_expr", "power", "del_stmt", "raise_stmt"):
            yield statement.start_pos, statement.end_pos

    def mutate(self, node: Any, _index: int) -> Any:
        """Put `pass` in the statement's place."""
        before = node.children[0].get_first_leaf().prefix
        node.children[0] = parso.parse(f"{before}pass")
        return node

    @classmethod
    def examples(cls) -> tuple[Example, ...]:
        """Show what it does."""
        return (Example("close()\n", "pass\n"),)


class _Bare(ast.NodeTransformer):
    """Takes away what changes nothing in the way a program runs, or only what it looks like."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.returns, node.decorator_list = None, []
        self.generic_visit(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AsyncFunctionDef:
        node.returns, node.decorator_list = None, []
        self.generic_visit(node)
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.decorator_list = []
        self.generic_visit(node)
        return node

    def visit_If(self, node: ast.If) -> ast.stmt:
        self.generic_visit(node)
        return ast.Pass() if "TYPE_CHECKING" in ast.dump(node.test) else node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node if node.value else ast.Pass()


def changes_of(source: str) -> Iterator[dict[str, Any]]:
    """Yield the line of each change and the module with it."""
    seen = {_meaning(source)}
    tree = get_ast(source)
    for operator in (*(get_operator(f"core/{name}")() for name in CHOSEN), LeaveOut()):
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        once = type(operator).__name__ == "NumberReplacer"  # it changes a number in two ways
        for at in range(0, len(places), 2 if once else 1):
            code = mutate_code(source, operator, at)
            try:
                meaning = _meaning(code)
            except SyntaxError:
                continue
            if meaning not in seen and not _DOTTED.search(code):
                seen.add(meaning)
                yield {"line": places[at][0][0], "code": code}


def _meaning(code: str) -> str:
    return ast.dump(_Bare().visit(ast.parse(code)))


if __name__ == "__main__":
    changes = sorted(changes_of(Path(sys.argv[1]).read_text()), key=lambda each: each["line"])
    json.dump(changes, sys.stdout)
