"""Conjunctions and disjunctions of a solver's terms, built directly.

z3's own ``And`` and ``Or`` compare the sorts of all arguments in Python at each call, which takes longer than
solving does for a policy of some hundred rules.
"""

from collections.abc import Callable
from typing import TypeAlias

import z3
from z3 import z3core

Term: TypeAlias = z3.BoolRef
Number: TypeAlias = z3.ArithRef


def all_of(*terms: Term) -> Term:
    """Every one holds."""
    return _joined(terms, z3core.Z3_mk_and)


def any_of(*terms: Term) -> Term:
    """At least one holds."""
    return _joined(terms, z3core.Z3_mk_or)


def not_(term: Term) -> Term:
    """It does not hold."""
    return z3.BoolRef(z3core.Z3_mk_not(term.ctx_ref(), term.as_ast()), term.ctx)


def sum_of(*numbers: Number) -> Number:
    """Their sum, 0 without any."""
    return z3.Sum(z3.IntVal(0), *numbers)


def _joined(terms: tuple[Term, ...], make: Callable[..., object]) -> Term:
    if len(terms) == 1:
        return terms[0]
    context = z3.main_ctx()
    array = (z3.Ast * len(terms))(*(term.as_ast() for term in terms))
    return z3.BoolRef(make(context.ref(), len(terms), array), context)
