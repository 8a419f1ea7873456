"""The policy author's tools: what a policy can never allow, and what a change of it allows anew.

A policy is written as formulas over one unknown transaction (``world``, ``formulas``) and z3 is asked for a
transaction that breaks an invariant (``proofs``) or tells two policies apart (``differences``). Whatever z3
finds is put before the evaluator itself before anyone hears of it. No node imports this package.
"""
