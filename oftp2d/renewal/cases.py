"""Credential sets as their plugins see them, and what the plugins say of the time."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from oftp2d.context import Context
from oftp2d.errors import OperatorError
from oftp2d.ledger import Candidate
from oftp2d.renewal.asking import Asked, PluginError
from oftp2d.renewal.definitions import CredentialSet
from oftp2d.renewal.interface import Case, Plugin
from oftp2d.renewal.keeping import Keeping
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.references import References
from oftp2d.renewal.timetable import Blocked, Plan, phase, plan


class Cases:
    """Makes what a plugin is asked with. An opened credential lives as long as the case does."""

    def __init__(self, context: Context, keeping: Keeping, registry: Registry) -> None:
        self._context = context
        self._keeping = keeping
        self._registry = registry
        self._plans: dict[str, tuple[object, Plan]] = {}
        """Of each set whose plugin plans by itself what it said, and upon what."""
        self._planning: set[Asked] = set()

    def plugin(self, definition: CredentialSet) -> Plugin:
        """The plugin of a set, which its definition has loaded. Raises OperatorError."""
        return self._registry.plugin(definition.plugin)

    def asked(self, definition: CredentialSet) -> Asked:
        """The steps of the plugin. Raises OperatorError."""
        return Asked(self.plugin(definition), definition.plugin, self._context.reactor)

    def tends(self, definition: CredentialSet) -> bool:
        """Whether the plugin has anything to do once a day. Raises OperatorError."""
        return type(self.plugin(definition)).tend is not Plugin.tend

    async def case(self, definition: CredentialSet, current: Candidate | None) -> Case:
        """A set with the credential in use, opened. Raises OperatorError."""
        return Case(
            name=definition.name,
            options=definition.options,
            terms=definition.terms,
            demands=definition.demands,
            current=None if current is None else await self._keeping.material(current),
            secrets=self.references(definition),
        )

    def references(self, definition: CredentialSet) -> References:
        """The secrets of a set."""
        context = self._context
        return References(
            definition.name,
            definition.options,
            keeping=self._keeping,
            home=context.config.home,
            now=context.now,
        )

    async def digest(self, definition: CredentialSet) -> str:
        """What tells the secrets that a set has now from others: of each that can be read its name and its keyed digest."""
        references = self.references(definition)
        found: list[str] = []
        for name in self.plugin(definition).secrets:
            if getattr(definition.options, name, ""):
                with suppress(OperatorError):
                    found.append(f"{name}={self._keeping.digest(await references.get(name))}")
        return " ".join(found)

    async def has_another(self, definition: CredentialSet, failed: str) -> bool:
        """Whether one of the secrets of which ``failed`` is the digest has another value now.

        One that is not there for the moment has none, and says nothing; nor does one that the definition has gained or lost.
        """
        before = dict(each.split("=", 1) for each in failed.split() if "=" in each)
        now = dict(each.split("=", 1) for each in (await self.digest(definition)).split())
        return any(before[name] != now[name] for name in before.keys() & now.keys())

    async def plan(self, definition: CredentialSet, current: Candidate | None, now: datetime) -> Plan:
        """Whether it is time, as the plugin says: asked once a day, and when the credential or the definition changes.

        One that cannot say keeps the set waiting for a person.
        """
        try:
            plugin = self.plugin(definition)
        except OperatorError as error:
            return Blocked(error.what, error.advice)
        ends = None if current is None else current.valid_until
        if type(plugin).plan is Plugin.plan:
            return plan(definition.name, ends, definition.terms, now)
        key = (definition, current and current.id, phase(ends, definition.terms, now), now.date())
        known = self._plans.get(definition.name)
        if known is not None and known[0] == key:
            return known[1]
        asked = self.asked(definition)
        self._planning.add(asked)
        try:
            found = await asked.plan(await self.case(definition, current), now)
        except PluginError as error:
            # One that hangs is not asked each minute.
            found = Blocked(error.what, error.advice)
        except OperatorError as error:
            return Blocked(error.what, error.advice)
        finally:
            self._planning.discard(asked)
        self._plans[definition.name] = key, found
        return found

    def give_up(self) -> None:
        """A plugin that is just saying whether it is time is not waited for."""
        for asked in list(self._planning):
            asked.cancel()

    def known_plan(self, definition: CredentialSet, current: Candidate | None, now: datetime) -> Plan:
        """The same without asking the plugin: what it said last, or what is usual."""
        known = self._plans.get(definition.name)
        ends = None if current is None else current.valid_until
        return plan(definition.name, ends, definition.terms, now) if known is None else known[1]

    def forget(self, name: str) -> None:
        """What the plugin said of a set counts no more."""
        self._plans.pop(name, None)
