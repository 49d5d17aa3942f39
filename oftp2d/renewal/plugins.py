"""The plugins that are installed: entry points of the group ``oftp2d.renewal``, each loaded when a credential set names it.

A plugin is code of others. One that cannot be loaded, or is none, is a fault that is told in a sentence; the sets of all
other plugins run on.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import Any, Final

import attrs

from oftp2d.errors import OperatorError
from oftp2d.renewal.interface import GROUP, House, Plugin

RESERVED: Final = frozenset({"common", "set", "terms", "demands", "store", "export", "hook"})
"""Names of sections: no plugin can be called so."""

_SEE: Final = "see 'oftp2d renew plugins'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A plugin as people see it."""

    name: str
    summary: str = ""
    package: str = ""
    version: str = ""
    fault: str = ""
    """Why it cannot be used; empty if it can."""


class Registry:
    """The plugins of one station. Everything here blocks: loading reads files."""

    def __init__(self, house: House, found: Iterable[EntryPoint] | None = None) -> None:
        self._house = house
        self._given = found
        self._known: dict[str, list[EntryPoint]] | None = None
        self._plugins: dict[str, Plugin | OperatorError] = {}
        # It is asked from several threads, and a plugin is made once.
        self._lock = RLock()

    def names(self) -> Sequence[str]:
        """All that are installed, whether they can be loaded or not, in alphabetical order."""
        return sorted(self._found())

    def of_package(self, package: str) -> Sequence[str]:
        """Those that a package brings, in alphabetical order."""
        return [name for name in self.names() if (dist := self._found()[name][0].dist) and dist.name == package]

    def plugin(self, name: str) -> Plugin:
        """The plugin of that name, made when it is asked for first. Raises OperatorError, each time the same."""
        with self._lock:
            found = self._plugins.get(name)
            if found is None:
                try:
                    found = self._made(name)
                except OperatorError as error:
                    found = error
                self._plugins[name] = found
        if isinstance(found, OperatorError):
            raise OperatorError(found.what, found.advice)
        return found

    def listed(self) -> Sequence[Listed]:
        """All that are installed; loads every one."""
        return [self._line(name) for name in self.names()]

    def _line(self, name: str) -> Listed:
        distribution = self._found()[name][0].dist
        package, version = (distribution.name, distribution.version) if distribution else ("", "")
        try:
            summary, fault = self.plugin(name).summary, ""
        except OperatorError as error:
            summary, fault = "", str(error)
        return Listed(name=name, summary=summary, package=package, version=version, fault=fault)

    def _found(self) -> dict[str, list[EntryPoint]]:
        with self._lock:
            if self._known is None:
                known: dict[str, list[EntryPoint]] = {}
                for entry in entry_points(group=GROUP) if self._given is None else self._given:
                    same = known.setdefault(entry.name, [])
                    # A package that is found twice on the path of Python is one all the same.
                    if entry.value not in {other.value for other in same}:
                        same.append(entry)
                self._known = known
            return self._known

    def _made(self, name: str) -> Plugin:
        found = self._found().get(name, [])
        if not found:
            raise OperatorError(f"there is no plugin called {name!r}", f"known are {', '.join(self.names())}")
        if len(found) > 1:
            packages = " and ".join(sorted({entry.dist.name if entry.dist else entry.value for entry in found}))
            raise OperatorError(f"several plugins are called {name!r}, of {packages}", "remove one of the packages")
        if name in RESERVED:
            raise OperatorError(f"no plugin can be called {name!r}", "ask its maker for another name")
        plugin = _class(found[0])
        try:
            return plugin(self._house)
        except Exception as error:  # noqa: BLE001 - code of others
            raise OperatorError(f"the plugin {name!r} does not start ({_shown(error)})", _SEE) from None


def _class(entry: EntryPoint) -> type[Plugin]:
    """The class of a plugin, looked over. Raises OperatorError."""
    try:
        found: Any = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - code of others
        raise OperatorError(
            f"the plugin {entry.name!r} cannot be loaded ({_shown(error)})",
            "install its package anew, or a version that fits",
        ) from None
    why = _unfit(found)
    if why:
        raise OperatorError(f"the plugin {entry.name!r} is none: {why}", "ask its maker, or install another version")
    plugin: type[Plugin] = found
    return plugin


def _unfit(found: object) -> str:
    """Why a class is no plugin; empty if it is one."""
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        return "it is no subclass of oftp2d.renewal.interface.Plugin"
    if inspect.isabstract(found):
        return f"it lacks {', '.join(sorted(found.__abstractmethods__))}"
    if not (isinstance(found.options, type) and attrs.has(found.options)):
        return "its options are no attrs class"
    missing = set(found.secrets) - {each.name for each in attrs.fields(found.options)}
    return f"it has secrets that are no options: {', '.join(sorted(missing))}" if missing else ""


def _shown(error: BaseException) -> str:
    """An exception of code of others: its kind and its first line, short and printable."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error).partition("\n")[0])
    return f"{type(error).__name__}: {text}"[:200]
