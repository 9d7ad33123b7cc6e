"""Converts a whole model: `convert`, `revert`, and `remaining`, which lists what is left.

A call of `convert` goes through these files:

- ``places`` decides what to do with each module. It looks up dropout modules in ``known``, and
  reads in the ``bytecode`` of others which dropout functions they call.
- ``dropouts``, ``recurrent`` and ``callers`` change a module, and undo the change.
- ``table`` prints the result.

A call of ``F.dropout`` in a converted module goes through these files:

- ``callers`` has the module's forward. It tells ``scope`` which ``child`` draws.
- ``functional`` has the function that replaces PyTorch's. It asks ``scope`` which child draws.

``random_calls`` watches the operators of a forward, for ``remaining``.
"""

from anydrop.torch.conversion.convert import convert, revert
from anydrop.torch.conversion.remaining import RandomCall, Remaining, remaining
from anydrop.torch.conversion.table import Conversion, Place

__all__ = ["Conversion", "Place", "RandomCall", "Remaining", "convert", "remaining", "revert"]
