"""Files of settings: TOML read into attrs classes, with every fault at once, each with its path and a line of advice.

Which classes there are is not known here; their fields come from :mod:`oftp2d.settings`. The same fields make the commented
example of a section.
"""

from __future__ import annotations

import difflib
import operator
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs
from cattrs import Converter
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.gen import make_dict_structure_fn, override

from .settings import UnfitError, shown

T = TypeVar("T", bound=attrs.AttrsInstance)

Hook = Callable[[object, type], object]


@attrs.frozen(kw_only=True)
class Fault:
    """One thing wrong in a file: where, what, and what to do about it."""

    path: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}; {self.advice}"


class FaultsError(Exception):
    """What was read cannot stand. ``faults`` holds every fault found, at least one."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


def document(content: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises FaultsError."""
    try:
        return tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and thousands of brackets, are told by other exceptions than other faults.
        what = f"it is not TOML: {error}"
        fault = Fault(path="(file)", what=what, advice="correct that line, see https://toml.io")
        raise FaultsError((fault,)) from None


class Reader:
    """Reads sections into their classes: each value through its own check, unknown names refused.

    ``omitted`` names a field of a class that no file may set; ``lists`` says how values of a certain type are read.
    """

    def __init__(
        self,
        *,
        omitted: Mapping[type[attrs.AttrsInstance], str] | None = None,
        lists: Mapping[object, Hook] | None = None,
    ) -> None:
        self._omitted = omitted or {}
        self.converter = Converter(detailed_validation=True)
        self.converter.register_structure_hook_factory(attrs.has, self._table)
        for kind, hook in (lists or {}).items():
            self.converter.register_structure_hook_func(partial(operator.eq, kind), hook)

    def read(self, value: object, kind: type[T], path: str = "") -> T:
        """An instance of the class out of a table. Raises FaultsError; ``path`` is put before that of each fault."""
        try:
            return self.converter.structure(value, kind)
        except Exception as error:  # noqa: BLE001 - cattrs gathers every kind of error; all become faults
            raise FaultsError(tuple(self._faults(error, path))) from None

    def _table(self, cls: type[attrs.AttrsInstance]) -> Hook:
        overrides: dict[str, Any] = {
            field.name: override(struct_hook=_checked(field.metadata["check"]))
            for field in attrs.fields(cls)
            if "check" in field.metadata
        }
        if cls in self._omitted:
            overrides[self._omitted[cls]] = override(omit=True)
        read = make_dict_structure_fn(cls, self.converter, _cattrs_forbid_extra_keys=True, **overrides)

        def structure(value: object, kind: type) -> object:
            if not isinstance(value, dict):
                raise UnfitError(f"{shown(value)} is not a section", "write its name in brackets, on a line of its own")
            return read(value, kind)

        return structure

    def _faults(self, error: BaseException, path: str) -> Iterator[Fault]:
        """Every fault in what cattrs gathered, with its path."""
        if isinstance(error, ClassValidationError):
            named, unnamed = error.group_exceptions()
            for inner, note in named:
                yield from self._faults(inner, f"{path}.{note.name}" if path else note.name)
            for inner_error in unnamed:
                yield from self._faults(inner_error, path)
        elif isinstance(error, IterableValidationError):
            numbered, _ = error.group_exceptions()
            for inner, index_note in numbered:
                yield from self._faults(inner, f"{path}[{index_note.index}]")
        elif isinstance(error, ForbiddenExtraKeysError):
            yield from self._unknown(error, path)
        elif isinstance(error, UnfitError):
            yield Fault(path=path or "(file)", what=error.what, advice=error.advice)
        elif isinstance(error, KeyError):
            yield Fault(path=path, what="it is missing", advice="write a line with it")
        else:
            yield Fault(path=path or "(file)", what=f"it can't be read ({error})", advice="leave it out")

    def _unknown(self, error: ForbiddenExtraKeysError, path: str) -> Iterator[Fault]:
        omitted = self._omitted.get(error.cl)
        known = [field.name for field in attrs.fields(error.cl) if field.name != omitted]
        for name in sorted(error.extra_fields):
            yield unknown(f"{path}.{name}" if path else name, name, known)


def unknown(path: str, name: str, known: list[str]) -> Fault:
    """The fault of a name that is none of those known."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    advice = f"did you mean {near[0]!r}?" if near else f"known here are: {', '.join(known)}"
    return Fault(path=path, what="there is no such setting", advice=advice)


def section(heading: str, shown_section: attrs.AttrsInstance, *, active: bool) -> str:
    """A section as an example: its documentation, and each setting with its value, behind '#' unless it is ``active``."""
    values = ((field, getattr(shown_section, field.name), active) for field in attrs.fields(type(shown_section)))
    return _section(heading, type(shown_section), values)


def template(heading: str, kind: type[attrs.AttrsInstance], usual: object = None) -> str:
    """A section of this class as an example to fill in: what must be given with a value like it, all else behind '#'.

    What has no value of its own in the class has that of the attribute of ``usual`` that is called so.
    """
    return _section(heading, kind, (_filled(field, usual) for field in attrs.fields(kind)))


def _filled(field: attrs.Attribute[Any], usual: object) -> tuple[attrs.Attribute[Any], object, bool]:
    required = field.default is attrs.NOTHING
    default = None if required or isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
    candidates = (default, getattr(usual, field.name, None), field.metadata.get("example"))
    return field, next((each for each in candidates if each not in (None, "", ())), None), required


def _section(
    heading: str,
    kind: type[attrs.AttrsInstance],
    values: Iterable[tuple[attrs.Attribute[Any], object, bool]],
) -> str:
    lines = [*_commented(kind.__doc__ or ""), heading]
    for field, value, active in values:
        lines += textwrap.wrap(field.metadata.get("doc", ""), 110, initial_indent="# ", subsequent_indent="# ")
        lines.append(f"{'' if active else '#'}{field.name} = {written(value)}")
    return "\n".join(lines) + "\n"


def _commented(text: str) -> Iterator[str]:
    """The paragraphs of a docstring, as comments."""
    for index, paragraph in enumerate(text.split("\n\n")):
        if index:
            yield "#"
        yield from textwrap.wrap(" ".join(paragraph.split()), 110, initial_indent="# ", subsequent_indent="# ")


def written(value: object) -> str:
    """A value as it stands in a file."""
    match value:
        case None:
            return '"..."'
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case list() | tuple():
            return f"[{', '.join(map(written, value))}]"
        case frozenset():
            return f"[{', '.join(sorted(map(written, value)))}]"
        case _:
            return f'"{_escaped(str(value))}"'


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _checked(check: Callable[[object], object]) -> Callable[[object, object], object]:
    return lambda value, _kind: check(value)
