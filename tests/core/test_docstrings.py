"""`described_by`: which docstring each part comes from, and where it stands."""

import inspect
from textwrap import dedent

import pytest

from anydrop.core.docstrings import described_by


def common(x, p=0.5, *, seed=None, out=None):
    """Do what all do.

    Parameters
    ----------
    x : array
        An array.
    p : float, default 0.5
        Probability
        for x.
    seed : int
        Where `x` comes from.
    out : array
        The place of max(x).

    Returns
    -------
    array
        ``x * p`` or exp.

    Raises
    ------
    ValueError
        If `x` is bad.

    See Also
    --------
    other : not for all.

    Examples
    --------
    Easy ones.
    """


class Common:
    """A layer.

    Parameters
    ----------
    p : float or Schedule, default 0.5
        Probability.
    seed : int, optional
        Of the layer.
    **options
        Of a subclass.

    Raises
    ------
    TypeError
        If it can't be made.
    """

    def __init__(self, p=0.5, *, seed=None, **options):
        pass


@described_by(common)
def near(x, p=0.1, *, size, seed=None, **keywords):
    """Do more.

    Notes
    -----
    For all that are like it.

    Parameters
    ----------
    p : float, default 0.1
        For regions.
    size : int
        Of a region of `x`.

    References
    ----------
    .. [1] A paper.
    """


@described_by(near, common)
def far(table, p=0.1, *, size, **keywords):
    """Do it to a table.

    It has words.

    Parameters
    ----------
    table : array
        Not x.

    Raises
    ------
    KeyError
        Always.

    Examples
    --------
    Easy ones,

    and more.
    """


@described_by(near, Common)
class Layer(Common):
    """A layer of regions.

    Examples
    --------
    Easy ones.
    """

    def __init__(self, p=0.1, *, size, **keywords):
        pass


def shown(thing):
    return inspect.getdoc(thing)


def test_the_keywords_of_the_last_source_end_a_signature():
    assert str(inspect.signature(near)) == "(x, p=0.1, *, size, seed=None, out=None)"
    assert str(inspect.signature(far)) == "(table, p=0.1, *, size, seed=None, out=None)"
    assert str(inspect.signature(Layer)) == "(p=0.1, *, size, seed=None)"
    assert str(inspect.signature(Common)) == "(p=0.5, *, seed=None, **options)"


def test_a_signature_without_keywords_stays():
    @described_by(common)
    def one(x, *, seed):
        """Do less."""

    assert str(inspect.signature(one)) == "(x, *, seed)"
    assert "out" not in shown(one)


def test_parts_come_from_the_last_source():
    assert shown(near) == dedent("""\
        Do more.

        Parameters
        ----------
        x : array
            An array.
        p : float, default 0.1
            For regions.
        size : int
            Of a region of `x`.
        seed : int
            Where `x` comes from.
        out : array
            The place of max(x).

        Returns
        -------
        array
            ``x * p`` or exp.

        Raises
        ------
        ValueError
            If `x` is bad.

        Notes
        -----
        For all that are like it.

        References
        ----------
        .. [1] A paper.""")


def test_the_first_source_comes_before_the_last():
    """And the docstring's own words first of all, in which an `x` stays."""
    assert shown(far) == dedent("""\
        Do it to a table.

        It has words.

        Parameters
        ----------
        table : array
            Not x.
        p : float, default 0.1
            For regions.
        size : int
            Of a region of `table`.
        seed : int
            Where `table` comes from.
        out : array
            The place of max(table).

        Returns
        -------
        array
            ``table * p`` or exp.

        Raises
        ------
        KeyError
            Always.

        Notes
        -----
        For all that are like it.

        References
        ----------
        .. [1] A paper.

        Examples
        --------
        Easy ones,

        and more.""")


def test_a_class_takes_over_nothing_that_a_call_does():
    assert shown(Layer) == dedent("""\
        A layer of regions.

        Parameters
        ----------
        p : float or Schedule, default 0.1
            For regions.
        size : int
            Of a region of `x`.
        seed : int, optional
            Of the layer.

        Raises
        ------
        TypeError
            If it can't be made.

        References
        ----------
        .. [1] A paper.

        Examples
        --------
        Easy ones.""")


def test_a_parameter_that_nobody_describes_is_refused():
    with pytest.raises(KeyError, match="strength"):

        @described_by(common)
        def strange(x, strength):
            """Do it."""


def test_without_docstrings_only_the_signature_is_completed():
    def bare(x, **keywords):
        pass

    assert described_by(common)(bare) is bare
    assert str(inspect.signature(bare)) == "(x, *, seed=None, out=None)"
    assert bare.__doc__ is None
