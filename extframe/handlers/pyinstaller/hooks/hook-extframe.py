"""Executed by PyInstaller: add the modules that are imported on first use, and the metadata with the entry points."""

from PyInstaller.utils.hooks import collect_submodules, copy_metadata

_DEVELOPMENT = ("extframe.cli", "extframe.conformance", "extframe.testing", "extframe.handlers.pyinstaller")

hiddenimports = collect_submodules("extframe", filter=lambda name: not name.startswith(_DEVELOPMENT))
datas = copy_metadata("extframe")
