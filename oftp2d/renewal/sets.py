"""The definitions of credential sets: every ``*.toml`` in ``$OFTP2D_HOME/renewal``, read with all faults at once.

A file holds any number of ``[[set]]`` tables; what stands in its table ``[common]`` counts for each of them that does not say
otherwise, section by section. Each set has, beside its general settings, the sections terms, demands, store, export and hook
(:mod:`oftp2d.renewal.definitions`), and one called like its plugin.

A file with faults keeps the sets that it had when it was read before, so that a slip of the pen stops no renewal. When the
station starts there is nothing to keep: then those of its sets run that have no fault.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from oftp2d.errors import OperatorError
from oftp2d.renewal.definitions import (
    CredentialSet,
    DemandsSection,
    Export,
    General,
    Hook,
    Store,
    TermsSection,
)
from oftp2d.renewal.interface import Plugin
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.rules import Demands, Identity
from oftp2d.renewal.timetable import Terms
from oftp2d.sections import Fault, FaultsError, Reader, document, template, unknown
from oftp2d.settings import shown

FOLDER: Final = "renewal"
"""Below the home folder."""
MAX_OCTETS: Final = 4 * 1024**2
MAX_FILES: Final = 1000
MAX_SETS: Final = 10_000
"""Of all files together."""

S = TypeVar("S", bound=attrs.AttrsInstance)

_reader = Reader()


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFault:
    """One thing wrong in the definitions."""

    file: str
    """Its name in the folder; empty where it is about the folder."""
    name: str
    """The set, or empty where it is about the file."""
    fault: Fault

    def __str__(self) -> str:
        where = f"{FOLDER}/{self.file}" if self.file else FOLDER
        return f"{where}: {f'{self.name}: ' if self.name else ''}{self.fault}"


@dataclass(frozen=True, slots=True)
class Definitions:
    """What was read: the sets that can run, by name, and everything that is wrong."""

    sets: Mapping[str, CredentialSet] = field(default_factory=dict)
    faults: tuple[SetFault, ...] = ()

    def faults_of(self, name: str) -> Sequence[SetFault]:
        """Those of one set and of the file that it is kept from."""
        file = self.sets[name].file if name in self.sets else None
        return [fault for fault in self.faults if fault.name == name or (not fault.name and fault.file == file)]


class Folder:
    """The folder of definitions of one station. Everything here blocks, and belongs in a disk worker."""

    def __init__(self, home: Path, registry: Registry) -> None:
        self._path = home / FOLDER
        self._registry = registry
        self._stamp: object = None
        self._last = Definitions()

    def changed(self) -> bool:
        """Whether a file of it, or of its folders, has changed since it was read."""
        return self._stamp != self._stamped()

    def read(self) -> Definitions:
        """Read it again. Raises nothing: whatever is wrong is told in the definitions."""
        self._stamp = self._stamped()
        faults: list[SetFault] = []
        found: dict[str, CredentialSet] = {}
        for file in self._files(faults):
            sets, wrong = self._file(file)
            if wrong and (kept := [each for each in self._last.sets.values() if each.file == file]):
                sets = kept
            faults += wrong
            for each in sets:
                first = found.setdefault(each.name, each)
                if first is not each:
                    faults.append(_twice(each, first))
        for each, first in _sharing(found.values(), self._path.parent):
            faults.append(_same_folder(each, first))
            del found[each.name]
        if len(found) > MAX_SETS:
            faults.append(_of_folder(f"there are {len(found)} credential sets", f"{MAX_SETS} are possible"))
            found = dict(list(found.items())[:MAX_SETS])
        self._last = Definitions(sets=found, faults=tuple(faults))
        return self._last

    def _stamped(self) -> object:
        """What changes when a file does. Plugins keep files of their own one folder deeper."""
        return sorted(self._stamps(self._path, deep=True))

    def _stamps(self, folder: Path, *, deep: bool) -> Iterator[tuple[str, int, int, int]]:
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if deep and entry.is_dir():
                        yield from self._stamps(Path(entry.path), deep=False)
                    elif entry.name.endswith(".toml"):
                        about = entry.stat()
                        yield entry.path, about.st_mtime_ns, about.st_size, about.st_ino
        except OSError:
            # Reading it tells what is wrong with it.
            return

    def _files(self, faults: list[SetFault]) -> Sequence[str]:
        try:
            names = sorted(each.name for each in self._path.iterdir() if each.suffix == ".toml")
        except FileNotFoundError:
            return ()
        except OSError as error:
            faults.append(_of_folder(f"it cannot be read ({error.strerror})", "check its owner and mode"))
            return sorted({each.file for each in self._last.sets.values()})
        if len(names) > MAX_FILES:
            faults.append(_of_folder(f"there are {len(names)} files", f"{MAX_FILES} are possible: put sets together"))
        return names[:MAX_FILES]

    def _file(self, name: str) -> tuple[list[CredentialSet], list[SetFault]]:
        try:
            tables = document(_content(self._path / name))
            common = _common(tables)
            raw = _tables(tables)
        except FaultsError as error:
            return [], [SetFault(file=name, name="", fault=fault) for fault in error.faults]
        sets: list[CredentialSet] = []
        wrong: list[SetFault] = []
        for index, table in enumerate(raw):
            merged = _merged(common, table)
            called = merged.get("name")
            label = called if isinstance(called, str) and called.isprintable() else ""
            try:
                sets.append(replace(defined(merged, self._registry), file=name))
            except FaultsError as error:
                prefix = "" if label else f"set[{index}]."
                wrong += (
                    SetFault(file=name, name=label[:64], fault=attrs.evolve(fault, path=prefix + fault.path))
                    for fault in error.faults
                )
        return sets, wrong


def defined(table: dict[str, Any], registry: Registry) -> CredentialSet:
    """A credential set out of its table, with the plugin's own section. Blocks. Raises FaultsError with all faults."""
    reading = _Reading(table)
    general = reading.general()
    plugin = reading.plugin(registry)
    options = reading.options(plugin) if plugin else None
    terms = reading.terms(reading.usual(plugin, options) if plugin and options is not None else Terms())
    demands = reading.demands(plugin.demands if plugin else Demands())
    store, export, hook = (
        reading.section("store", Store),
        reading.section("export", Export),
        reading.section("hook", Hook),
    )
    reading.nothing_else()
    if reading.faults or general is None:
        raise FaultsError(tuple(reading.faults))
    return CredentialSet(
        **attrs.asdict(general),
        options=options,
        terms=terms,
        demands=demands,
        store=store,
        export=export,
        hook=hook,
    )


def example(name: str, plugin: Plugin) -> str:
    """A file for a plugin to fill in, with everything that can be set; what must be given stands there, all else behind '#'."""
    head = (
        f"# A credential set of the plugin {name}: {plugin.summary}\n"
        f"# Put it into a file in $OFTP2D_HOME/{FOLDER} whose name ends with .toml; 'oftp2d check' names every mistake.\n"
        "# A setting behind '#' may be left out. For many sets write [common] with what they share, and its sections.\n"
    )
    if plugin.secrets:
        head += (
            '# Secrets never stand here, only where they are: "store" (sealed in the station\'s database, said with\n'
            '# \'oftp2d renew secret SET NAME\'), "file:/path" (for the user of the station alone, chmod 600) or "env:NAME".\n'
        )
    general = template("[[set]]", General).replace('plugin = "..."', f'plugin = "{name}"')
    left_out = (
        template("[set.store]", Store),
        template("[set.export]", Export),
        template("[set.hook]", Hook),
        template("[set.terms]", TermsSection, plugin.terms),
        template("[set.demands]", DemandsSection, plugin.demands),
    )
    return "\n".join((head, general, template(f"[set.{name}]", plugin.options), *map(_behind, left_out)))


def _behind(section: str) -> str:
    """A section that may be left out as a whole."""
    return "".join(line if line.startswith("#") else f"#{line}" for line in section.splitlines(keepends=True))


class _Reading:
    """One table of a credential set as it is read, and what is wrong with it."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._table = table
        self._known = [each.name for each in attrs.fields(General)]
        self._plugin_known = True
        self.faults: list[Fault] = []

    def general(self) -> General | None:
        """The settings of the table itself."""
        return self._read({key: value for key, value in self._table.items() if key in self._known}, General, "")

    def section(self, key: str, kind: type[S]) -> S | None:
        """A section that may be left out."""
        self._known.append(key)
        return self._read(self._table[key], kind, key) if key in self._table else None

    def plugin(self, registry: Registry) -> Plugin | None:
        """The plugin that it names."""
        name = self._table.get("plugin")
        try:
            return registry.plugin(name) if isinstance(name, str) else None
        except OperatorError as error:
            self._plugin_known = False
            self._fault("plugin", error.what, error.advice)
            return None

    def options(self, plugin: Plugin) -> attrs.AttrsInstance | None:
        """The section called like the plugin, checked by the plugin too."""
        name = self._table["plugin"]
        self._known.append(name)
        options = self._read(self._table.get(name, {}), plugin.options, name)
        if options is not None:
            try:
                wrong = [str(each) for each in plugin.check(options)]
            except Exception as error:  # noqa: BLE001 - code of others
                self._broken(name, error)
            else:
                for sentence in wrong:
                    what, _, advice = sentence.rpartition("; ")
                    self._fault(name, what or advice, advice if what else f"see 'oftp2d renew example {name}'")
        return options

    def usual(self, plugin: Plugin, options: attrs.AttrsInstance) -> Terms:
        """The terms of the plugin with these options."""
        try:
            return plugin.usual(options)
        except Exception as error:  # noqa: BLE001 - code of others
            # What is wrong with the options was told by their check, in most plugins.
            if not self.faults:
                self._broken(self._table["plugin"], error)
            return Terms()

    def terms(self, usual: Terms) -> Terms:
        """The usual terms, with those of the set laid over them."""
        terms = replace(usual, **self._given(self.section("terms", TermsSection)))
        if not terms.critical_days <= terms.alarm_days <= terms.lead_days < terms.valid_days:
            found = f"{terms.critical_days}, {terms.alarm_days}, {terms.lead_days} and {terms.valid_days}"
            self._fault(
                "terms",
                f"critical_days, alarm_days, lead_days and valid_days are {found}",
                "each must be at least as large as the one before, and valid_days larger than lead_days",
            )
        return terms

    def demands(self, usual: Demands) -> Demands:
        """The demands of the plugin, with those of the set laid over them."""
        demands = replace(usual, **self._given(self.section("demands", DemandsSection)))
        if demands.identity is Identity.PATTERN and not demands.pattern:
            self._fault("demands.pattern", "it is missing", 'give one, or write identity = "equal"')
        return demands

    def nothing_else(self) -> None:
        """Name what is not known here; after all sections were read."""
        for key, value in self._table.items():
            # The section of a plugin that there is not is known to nobody.
            if key not in self._known and (self._plugin_known or not isinstance(value, dict)):
                self.faults.append(unknown(key, key, self._known))

    def _read(self, value: object, kind: type[S], path: str) -> S | None:
        try:
            return _reader.read(value, kind, path)
        except FaultsError as error:
            self.faults += error.faults
            return None

    def _given(self, section: attrs.AttrsInstance | None) -> dict[str, Any]:
        if section is None:
            return {}
        values = ((each.name, getattr(section, each.name)) for each in attrs.fields(type(section)))
        return {name: value for name, value in values if value not in {None, ""}}

    def _broken(self, name: str, error: Exception) -> None:
        if isinstance(error, OperatorError):
            self._fault(name, error.what, error.advice)
        else:
            # Its text may hold an option.
            what = f"the plugin cannot judge it ({type(error).__name__})"
            self._fault(name, what, f"see 'oftp2d renew example {name}', and ask its maker")

    def _fault(self, path: str, what: str, advice: str) -> None:
        self.faults.append(Fault(path=path, what=what, advice=advice))


def _content(path: Path) -> str:
    """The text of a file. Raises FaultsError."""
    try:
        # A pipe would keep who opens it waiting.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise _wrong("it is no file", "put a file there, or give it a name that does not end with .toml")
            if about.st_mode & stat.S_IWOTH:
                # It says which programs are run.
                raise _wrong("everybody can write it", f"run 'chmod o-w {path}'")
            content = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise _wrong(f"it cannot be read ({error.strerror})", "check its owner and mode") from None
    if len(content) > MAX_OCTETS:
        raise _wrong(f"it has more than {MAX_OCTETS} octets", "spread its sets over several files")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _wrong("it is not UTF-8", "save it in that encoding") from None


def _common(tables: dict[str, Any]) -> dict[str, Any]:
    for name in tables:
        if name not in {"common", "set"}:
            raise FaultsError((unknown(name, name, ["common", "set"]),))
    common = tables.get("common", {})
    if not isinstance(common, dict):
        raise _wrong(f"{shown(common)} is not a section", "write [common] on a line of its own", "common")
    return common


def _tables(tables: dict[str, Any]) -> list[dict[str, Any]]:
    raw = tables.get("set", [])
    if not (isinstance(raw, list) and all(isinstance(each, dict) for each in raw)):
        raise _wrong("it is not a list of sections", "write [[set]], with two brackets, for each set", "set")
    return raw


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What is common, with a set's own laid over it; sections setting by setting."""
    merged = dict(common)
    for key, value in own.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _wrong(what: str, advice: str, path: str = "(file)") -> FaultsError:
    return FaultsError((Fault(path=path, what=what, advice=advice),))


def _of_folder(what: str, advice: str) -> SetFault:
    return SetFault(file="", name="", fault=Fault(path="(folder)", what=what, advice=advice))


def _sharing(sets: Iterable[CredentialSet], home: Path) -> Sequence[tuple[CredentialSet, CredentialSet]]:
    """Sets that would write over the files of another one, each with that."""
    folders: dict[str, CredentialSet] = {}
    exported = ((each, os.path.realpath(home / each.export.folder)) for each in sets if each.export is not None)
    return [(each, first) for each, folder in exported if (first := folders.setdefault(folder, each)) is not each]


def _same_folder(each: CredentialSet, first: CredentialSet) -> SetFault:
    what, advice = f"the credential of {first.name} is exported there", "give each set a folder of its own"
    return SetFault(file=each.file, name=each.name, fault=Fault(path="export.folder", what=what, advice=advice))


def _twice(each: CredentialSet, first: CredentialSet) -> SetFault:
    where = "the same file" if each.file == first.file else f"{FOLDER}/{first.file}"
    fault = Fault(path="name", what=f"{where} has a set of this name", advice="give one of them another name")
    return SetFault(file=each.file, name=each.name, fault=fault)
