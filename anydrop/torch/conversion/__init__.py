"""A whole model at once: `convert`, `revert`, and `remaining`, which names what is left.

A call of `convert` goes through these files:

- ``places`` says what is to be done with each module. It takes dropout modules from ``known``, and
  reads in the ``bytecode`` of others which dropout functions they call.
- ``dropouts``, ``recurrent`` and ``callers`` change a module, and undo that.
- ``table`` prints what was done.

A call of ``F.dropout`` in a converted module goes through these:

- ``callers`` has the forward, which tells ``scope`` who draws: the module's ``child``.
- ``functional`` has the function in the place of PyTorch's. It asks ``scope`` who draws.

``random_calls`` watches the operators of a forward for ``remaining``.
"""

from anydrop.torch.conversion.convert import convert, revert
from anydrop.torch.conversion.remaining import RandomCall, Remaining, remaining
from anydrop.torch.conversion.table import Conversion, Place

__all__ = ["Conversion", "Place", "RandomCall", "Remaining", "convert", "remaining", "revert"]
