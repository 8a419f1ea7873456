"""A witness of an auditor's own: it cosigns what extends all that it cosigned before."""
