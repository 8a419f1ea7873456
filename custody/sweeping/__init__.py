"""Deposit accounts emptied into a collecting wallet, and sending accounts kept in gas; as a backend."""
