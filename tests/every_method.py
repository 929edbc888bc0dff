"""All interfaces of extframe.subsystems and their methods, found by walking the package."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from extframe import subsystems
from extframe.interface import Declaration, Interface, declaration
from extframe.interface.methods import Method

MODULES = [import_module(f"extframe.subsystems.{found.name}") for found in pkgutil.iter_modules(subsystems.__path__)]
INTERFACES: list[type[Interface]] = [
    value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Interface) and value.__module__ == module.__name__
]
DECLARATIONS: list[Declaration] = [declaration(interface) for interface in INTERFACES]
METHODS: dict[str, Method] = {method.wire: method for found in DECLARATIONS for method in found.methods}
OWNERS: dict[str, type[Interface]] = {
    method.wire: found.interface for found in DECLARATIONS for method in found.methods
}
