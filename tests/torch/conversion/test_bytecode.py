"""What is read from the bytecode of a class of modules."""

import dis
from types import SimpleNamespace

import pytest
from subjects import available

if not available("torch"):
    pytest.skip(
        "torch is not installed here; nox -s tests-torch runs this", allow_module_level=True
    )

import torch
from converted import Calling, within
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its name everywhere
from torch.nn.functional import dropout as imported

from anydrop.torch import convert
from anydrop.torch.conversion import bytecode

dropout = imported


class Base(nn.Module):
    def forward(self, x):
        return F.dropout(x)

    def helper(self, x, y):
        return F.alpha_dropout(x + y)


class BySuper(Base):
    def forward(self, x):
        return super().forward(x)


class BySelf(Base):
    def forward(self, x):
        y = x + 1
        return self.helper(x, y)


class InAnExpression(Base):
    def forward(self, x):
        return x + self.helper(x, x)


class InAFunctionWithin(Base):
    def forward(self, x):
        return (lambda y: self.helper(x, y))(x)


def of_this_file(x):
    return nn.functional.dropout2d(x)


class ByAFunction(nn.Module):
    def forward(self, x):
        return of_this_file(x)


class Others(nn.Module):
    def forward(self, x):
        return torch.dropout(x, 0.5, self.training) + torch.rand(3)


class ByAnImport(nn.Module):
    def forward(self, x):
        return dropout(x)


@pytest.mark.parametrize(
    ("kind", "dropouts", "others"),
    [
        (Base, {"dropout"}, ()),
        (BySuper, {"dropout"}, ()),
        (BySelf, {"alpha_dropout"}, ()),
        (InAnExpression, {"alpha_dropout"}, ()),
        (InAFunctionWithin, {"alpha_dropout"}, ()),
        (ByAFunction, {"dropout2d"}, ()),
        (Others, (), {"dropout", "rand"}),
        (ByAnImport, (), {"dropout"}),
        (nn.MultiheadAttention, (), ()),
    ],
)
def test_what_a_class_calls(kind, dropouts, others):
    assert bytecode.calls_of(kind) == (set(dropouts), set(others))


def test_the_table_names_what_a_forward_of_a_base_calls():
    assert convert(within(BySuper()), functional=True).converted[0].was == "F.dropout"


def test_a_function_that_was_imported_before_ours_stood_in_its_place():
    first = within(Calling())
    convert(first, functional=True)
    assert F.dropout is not imported

    class Own(nn.Module):
        def forward(self, x):
            return dropout(x)

    (place,) = convert(within(Own()), functional=True).left
    assert (place.was, place.left) == ("dropout", "a random function that convert does not replace")


@pytest.mark.parametrize(
    ("instructions", "names"),
    [
        # As Lib/dis.py of each version shows them.
        pytest.param(
            [
                *[("LOAD_GLOBAL", "super"), ("LOAD_DEREF", "__class__"), ("LOAD_FAST", "self")],
                *[("LOAD_SUPER_ATTR", "forward"), ("LOAD_FAST", "x")],
            ],
            [("", "super"), (None, "forward")],
            id="3.12 super().forward(x)",
        ),
        pytest.param(
            [("STORE_FAST_LOAD_FAST", ("y", "self")), ("LOAD_ATTR", "helper")],
            [("self", "helper")],
            id="3.13 y = ...; self.helper",
        ),
        pytest.param(
            [("LOAD_FAST_LOAD_FAST", ("x", "self")), ("LOAD_ATTR", "helper")],
            [("self", "helper")],
            id="3.13 x + self.helper",
        ),
        pytest.param(
            [
                *[("LOAD_GLOBAL", "F"), ("LOAD_ATTR", "dropout"), ("PUSH_NULL", None)],
                *[("LOAD_FAST_BORROW_LOAD_FAST_BORROW", ("x", "self")), ("LOAD_ATTR", "p")],
                *[("LOAD_FAST_BORROW", "self"), ("LOAD_ATTR", "training"), ("CALL", 3)],
            ],
            [("", "F"), ("F", "dropout"), ("self", "p"), ("self", "training")],
            id="3.14 F.dropout(x, self.p, self.training)",
        ),
    ],
)
def test_instructions_of_later_versions_of_python(monkeypatch, instructions, names):
    steps = [SimpleNamespace(opname=name, argval=value) for name, value in instructions]
    monkeypatch.setattr(dis, "get_instructions", lambda code: steps)
    assert list(bytecode._names(Base.forward.__code__)) == names
