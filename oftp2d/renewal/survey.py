"""Looking at definitions and plugins without a running station: for 'oftp2d check', 'renew plugins' and 'renew example'.

Nothing here asks a source or changes anything. Everything blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar, cast

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock

from oftp2d.errors import OperatorError
from oftp2d.ledger import Ledger
from oftp2d.renewal import sets
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import House
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.plugins import Listed, Registry
from oftp2d.renewal.references import References
from oftp2d.settings import IN_ENVIRONMENT
from oftp2d.vault import Vault
from oftp2d.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")


Looked: TypeAlias = tuple[str, str, str]
"""What was looked at, what was found, and the advice: empty where all is well."""


class _AtOnce(Workers):
    """Does everything where it is asked for: there is no reactor that would have to wait."""

    async def disk(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    crypto = database = disk


def registry(home: Path) -> Registry:
    """The plugins, for looking at what they know of their options."""
    clock: Any = Clock()
    return Registry(House(reactor=clock, workers=_AtOnce(clock), home=home))


def plugins(home: Path) -> Sequence[Listed]:
    """All that are installed."""
    return registry(home).listed()


def example(home: Path, plugin: str) -> str:
    """A complete definition for this plugin, to fill in. Raises OperatorError."""
    return sets.example(plugin, registry(home).plugin(plugin))


def profile(home: Path, plugin: str) -> str:
    """The profile to fill in, of a plugin that has some. Raises OperatorError."""
    text = registry(home).plugin(plugin).profile()
    if not text:
        raise OperatorError(f"the plugin {plugin} has no profile", f"see 'oftp2d renew example {plugin}'")
    return text


def findings(home: Path, ledger: Ledger, vault: Vault | None) -> Iterator[Looked]:
    """Whether definitions, profiles and secrets are in order; nothing where there are no definitions."""
    read = sets.Folder(home, known := registry(home)).read()
    for fault in read.faults:
        where = f"{sets.FOLDER}/{fault.file}" if fault.file else sets.FOLDER
        what = f"{f'{fault.name}: ' if fault.name else ''}{fault.fault.path}: {fault.fault.what}"
        yield where, what, fault.fault.advice
    for name in sorted(read.sets):
        yield from _of_set(read.sets[name], known, home, ledger, vault)


def _of_set(
    definition: CredentialSet, known: Registry, home: Path, ledger: Ledger, vault: Vault | None
) -> Iterator[Looked]:
    subject, good = f"credential set {definition.name}", True
    for name in known.plugin(definition.plugin).secrets:
        reference = getattr(definition.options, name, None)
        # What is in the environment of the daemon cannot be seen from here; nor is anything open without a master key.
        if vault is None or not isinstance(reference, str) or not reference or reference.startswith(IN_ENVIRONMENT):
            continue
        secrets = References(
            definition.name,
            definition.options,
            keeping=Keeping(ledger=ledger, vault=vault, workers=_AtOnce(cast("IReactorFromThreads", Clock()))),
            home=home,
            now=lambda: datetime.now(UTC),
        )
        try:
            _done(secrets.get(name))
        except OperatorError as error:
            good = False
            yield subject, error.what, error.advice
    if good:
        yield subject, f"its definition for {definition.plugin} is in order", ""


def _done(work: Coroutine[Any, Any, object]) -> None:
    """Carry out what waits for nothing. Raises what it raises."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for a reactor, and none runs")  # pragma: no cover - see _AtOnce
