"""Names in annotations whose modules are imported only if something asks for the types, as ``get_type_hints`` does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, ForwardRef, Union

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    Reference = ForwardRef
elif sys.version_info >= (3, 11):
    from typing import Self, Unpack

    Reference = ForwardRef
else:  # without typing_extensions, which is not a dependency
    Self = Any

    class Unpack:
        """Means the options of a function."""

        def __class_getitem__(cls, options):
            return Any

    class Reference(ForwardRef, _root=True):
        """A reference that can be a member of a union, as from Python 3.11."""

        def __or__(self, other):
            return Union[self, other]  # noqa: UP007 - this is what the operator means

        def __ror__(self, other):
            return Union[other, self]  # noqa: UP007


def late(module: str, name: str) -> Any:
    """Return a reference to a name of a module, which ``typing.get_type_hints`` replaces by what it means.

    A module uses it for what only its annotations name, after the import for type checkers::

        if TYPE_CHECKING:
            from ..registry.base import Registry
        else:
            Registry = late("extframe.registry.base", "Registry")
    """
    return Reference(f"__import__('importlib').import_module({module!r}).{name}")


class LateGeneric:
    """Such a reference to a generic class: ``Outcomes[R]`` in an annotation means the class."""

    def __init__(self, module: str, name: str) -> None:
        self._reference = late(module, name)

    def __getitem__(self, parameters: object) -> Any:
        return self._reference
