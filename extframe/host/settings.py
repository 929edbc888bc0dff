"""The settings of plugins: what a manager was given, checked, with secrets filled in. Sends nothing, logs no value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import ExtframeError, SpecError
from ..interface.declarations import Declaration, Interface, declaration
from ..interface.lossless import fault_in_any
from ..interface.messages import Message
from ..interface.settings import (
    DOCKER_POINTS,
    Given,
    SettingsFault,
    as_json,
    described,
    field_names,
    read_settings,
    redacted,
    required_keys,
    texts_in,
)
from ..logs import get_logger
from ..protocol import CONFIGURE, Manifest, PluginSpec, encode_json

logger = get_logger(__name__)


class ManagerSettings:
    """The settings that a manager was given, and the interfaces that it knows.

    Args:
        given: the settings of plugins, by name.
        registered: returns the interface that is registered for an extension point, or None.
    """

    def __init__(
        self, given: Mapping[str, Mapping[str, Any]] = {}, registered: Callable[[str], type | None] = lambda point: None
    ) -> None:
        self._given = given
        self._registered = registered
        self._used: dict[str, Declaration] = {}  # by extension point
        self._expected: dict[str, dict[str, Declaration]] = {}  # by plugin and extension point

    def of(self, name: str) -> Mapping[str, Any] | None:
        """Return the settings that the manager was given for a plugin."""
        return self._given.get(name)

    def learn(self, interface: object, name: str | None = None) -> None:
        """Note that plugins, or that of this name, are used as an interface; ignore the names of extension points."""
        if not isinstance(interface, type):
            return
        declared = declaration(interface)
        if declared.settings is not None:
            self._used[declared.implements] = declared
            if name is not None:
                self._expected.setdefault(name, {})[declared.implements] = declared

    def expected(self, name: str) -> list[Declaration]:
        """Return the interfaces with settings as which a plugin is used, whatever its manifest will say."""
        return list(self._expected.get(name, {}).values())

    def known(self, point: str) -> Declaration | None:
        """Return the interface of an extension point, if the host knows it."""
        used = self._used.get(point)
        if used is None and (registered := self._registered(point)) is not None:
            return declaration(registered)
        return used


@dataclass(frozen=True)
class Prepared:
    """The settings of a plugin, with secrets filled in, before its manifest is known.

    Args:
        given: by key.
        places: where each key was given, as messages begin.
        place: where missing keys belong.
    """

    given: Mapping[str, Given] = field(repr=False)
    places: Mapping[str, tuple[str, str]]
    place: tuple[str, str]
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Request:
    """What is sent to a plugin."""

    arguments: Mapping[str, Any] = field(repr=False)


class PluginSettings:
    """The settings of one plugin.

    Args:
        manager: those of all plugins.
        spec: returns what the registry found.
    """

    def __init__(self, manager: ManagerSettings, spec: Callable[[], PluginSpec]) -> None:
        self._manager = manager
        self._spec = spec
        self._secrets: set[str] = set()  # every value that was sent: a call that is under way may have an older one

    @property
    def is_given(self) -> bool:
        """Whether there are settings to send."""
        spec = self._spec()
        return spec.settings is not None or self._manager.of(spec.name) is not None

    def prepare(self) -> Prepared | None:
        """Return the settings of the plugin, None if it has none. Reads the environment and files.

        Raises:
            SpecError: a variable or a file is missing, or the settings do not fit an interface as which the plugin is
                used. Names the key and where it was given.
        """
        spec = self._spec()
        if spec.manifest is not None:  # a plugin without a handshake
            return None
        prepared = self._prepare(spec)
        expected = self._manager.expected(spec.name)
        if prepared is not None and expected:
            # The plugin may have further interfaces with settings: its manifest will say so.
            others = {name for kind in _kinds(_all_declared()) for name in field_names(kind)}
            others -= {name for kind in _kinds(expected) for name in field_names(kind)}
            given = {key: value for key, value in prepared.given.items() if key.lower() not in others}
            self._read(replace(prepared, given=given), expected, strict=True)
        return prepared

    def _prepare(self, spec: PluginSpec) -> Prepared | None:
        sources = [
            (spec.settings, (spec.source or f"registry of plugin {spec.name!r}", "settings.")),
            (self._manager.of(spec.name), (f"PluginManager(settings={{{spec.name!r}: ...}})", "")),
        ]
        given: dict[str, Given] = {}
        places: dict[str, tuple[str, str]] = {}
        secrets: list[str] = []
        used = [(table, place) for table, place in sources if table is not None]
        for table, place in used:
            for key, raw in table.items():
                try:
                    given[key] = _given(raw, key, secrets.append)
                except SettingsFault as fault:
                    raise self._error(fault, place) from None
                places[key] = place
        secrets += [text for each in given.values() for text in texts_in(each.value)]
        return Prepared(given, places, used[0][1], tuple(secrets)) if used else None

    def request(self, prepared: Prepared | None, manifest: Manifest, *, always: bool = False) -> Request | None:
        """Return what to send to a plugin with this manifest; None if nothing is sent.

        Args:
            prepared: the settings.
            manifest: the response to the handshake.
            always: send an empty table if there are no settings: the plugin waits for them.

        Raises:
            SpecError: the settings do not fit the interfaces of the plugin, or it takes none.
        """
        spec = self._spec()
        if spec.manifest is not None:
            return None
        declared = [self._manager.known(point) for point in manifest.settings]
        known = [each for each in declared if each is not None and each.settings is not None]
        if not manifest.settings:
            if prepared is not None:
                self._check_none_taken(prepared, manifest)
            return None
        if prepared is None and not always and not any(required_keys(kind) for kind in _kinds(known)):
            return None
        prepared = prepared or Prepared({}, {}, (f"PluginManager(settings={{{spec.name!r}: ...}})", ""), ())
        sent = self._read(prepared, known, strict=len(known) == len(manifest.settings))
        self._secrets.update(prepared.secrets)
        return Request({"Settings": sent})

    def hide(self, failure: ExtframeError) -> None:
        """Remove the values of settings from the error of a call. The client does this before observers get it."""
        failure.message = redacted(failure.message, list(self._secrets))
        failure.args = (failure.message,)

    def _read(self, prepared: Prepared, declared: Iterable[Declaration], *, strict: bool) -> dict[str, Any]:
        try:
            return read_settings(prepared.given, _kinds(declared), strict=strict)[1]
        except SettingsFault as fault:
            place = prepared.places.get(re.split(r"[.\[]", fault.key)[0], prepared.place)
            raise self._error(fault, place) from None

    def _check_none_taken(self, prepared: Prepared, manifest: Manifest) -> None:
        place = prepared.place[0]
        name = self._spec().name
        if DOCKER_POINTS.issuperset(manifest.implements):
            logger.warning(
                "plugin %r is not sent the settings of %s: it implements only extension points of Docker's, "
                "which have none",
                name,
                place,
            )
            return
        raise self._error(
            SettingsFault("", f"plugin {name!r} takes no settings; upgrade it, or remove them"), prepared.place
        )

    def _error(self, fault: SettingsFault, place: tuple[str, str]) -> SpecError:
        spec = self._spec()
        return SpecError(
            f"settings of plugin {spec.name!r}: {described(fault, *place)}",
            plugin=spec.name,
            method=CONFIGURE,
            address=spec.address,
            source=spec.source if place[1] else None,
        )


def is_settings_error(failure: object) -> bool:
    """Return whether settings are invalid, for which the plugin is not to blame: it was not sent any."""
    return isinstance(failure, SpecError) and failure.method == CONFIGURE


def _given(raw: Any, key: str, secret: Callable[[str], object]) -> Given:
    from .secret_references import resolved

    value = resolved(raw, key, secret)
    try:
        decoded = as_json(value)
        encode_json(decoded)
    except (TypeError, ValueError):  # whose text may contain the value
        raise SettingsFault(key, "is invalid: it is not a value that JSON can carry") from None
    fault = fault_in_any(decoded)
    if fault is not None:
        raise SettingsFault(key, f"is invalid{fault}")
    return Given(decoded, value != raw)


def _all_declared() -> list[Declaration]:
    """Return what every interface of this process declares."""
    from ..interface.async_interface import AsyncInterface

    classes: list[Any] = [Interface, AsyncInterface]
    for cls in classes:
        classes += cls.__subclasses__()
    return [each for cls in classes for each in cls.__extframe__]


def _kinds(declared: Iterable[Declaration]) -> list[type[Message]]:
    return [each.settings for each in declared if each.settings is not None]
