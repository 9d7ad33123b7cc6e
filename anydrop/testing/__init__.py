"""The public conformance suite: what every backend must pass, anydrop's own and yours.

It needs no test framework: a case is a callable that raises AssertionError.
"""

from anydrop.testing.cases import Case, cases
from anydrop.testing.subject import DTYPES, Subject

__all__ = ["DTYPES", "Case", "Subject", "cases"]
