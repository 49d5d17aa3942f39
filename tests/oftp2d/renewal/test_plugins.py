"""The registry of plugins: what is installed, what of it can be used, and why not."""

from __future__ import annotations

import sys
from datetime import datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock

from oftp2d.errors import OperatorError
from oftp2d.renewal.command import Command
from oftp2d.renewal.interface import GROUP, Answer, Case, House, Plugin
from oftp2d.renewal.local_ca import LocalCa
from oftp2d.renewal.plugins import Registry
from oftp2d.vault import Secret
from oftp2d.workers import Workers

MODULE = "plugins_of_others"


class Good(Plugin):
    summary = "does what it should"

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer:
        raise NotImplementedError


class Unfinished(Plugin):
    """It has no fetch."""


class WithDictOptions(Good):
    options: Any = dict


class WithStrangeSecret(Good):
    secrets = ("password",)


class Explosive(Good):
    def __init__(self, house: House) -> None:
        super().__init__(house)
        raise RuntimeError("boom\nand more")


@attrs.frozen
class NoPlugin:
    pass


@pytest.fixture
def house(tmp_path: Path) -> House:
    clock = Clock()
    return House(reactor=clock, workers=Workers(clock), home=tmp_path)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def others(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(MODULE)
    vars(module).update({each.__name__: each for each in (Good, Unfinished, WithDictOptions, WithStrangeSecret)})
    vars(module).update({"Explosive": Explosive, "NoPlugin": NoPlugin, "number": 3})
    monkeypatch.setitem(sys.modules, MODULE, module)


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=f"{MODULE}:{value}", group=GROUP)


def test_those_that_come_with_the_station_are_installed_and_can_be_used(house: House) -> None:
    registry = Registry(house)
    listed = {each.name: each for each in registry.listed()}
    assert {"local-ca", "command"} <= set(listed)
    for name, kind in (("local-ca", LocalCa), ("command", Command)):
        assert isinstance(registry.plugin(name), kind)
        assert (listed[name].summary, listed[name].package, listed[name].fault) == (kind.summary, "oftp2d", "")
        assert listed[name].version


def test_a_plugin_is_made_once_and_only_when_it_is_asked_for(house: House) -> None:
    registry = Registry(house, [entry("good", "Good"), entry("explosive", "Explosive")])
    assert registry.names() == ["explosive", "good"]
    assert registry.plugin("good") is registry.plugin("good")
    assert registry.plugin("good").house is house


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Unfinished", "the plugin 'odd' is none: it lacks fetch"),
        ("WithDictOptions", "the plugin 'odd' is none: its options are no attrs class"),
        ("WithStrangeSecret", "the plugin 'odd' is none: it has secrets that are no options: password"),
        ("NoPlugin", "the plugin 'odd' is none: it is no subclass of oftp2d.renewal.interface.Plugin"),
        ("number", "the plugin 'odd' is none: it is no subclass of oftp2d.renewal.interface.Plugin"),
        ("Explosive", "the plugin 'odd' does not start (RuntimeError: boom)"),
        ("Missing", "the plugin 'odd' cannot be loaded (AttributeError: "),
    ],
)
def test_what_is_no_plugin_is_told_in_a_sentence_and_harms_no_other(house: House, value: str, why: str) -> None:
    registry = Registry(house, [entry("odd", value), entry("good", "Good")])
    for _ in range(2):
        with pytest.raises(OperatorError) as caught:
            registry.plugin("odd")
        assert caught.value.what.startswith(why)
        assert caught.value.advice
    odd, good = sorted(registry.listed(), key=lambda each: not each.fault)
    assert (odd.name, odd.fault.startswith(why), good.name, good.fault) == ("odd", True, "good", "")


def test_an_unknown_one_is_told_with_those_that_are_known(house: House) -> None:
    with pytest.raises(OperatorError, match="there is no plugin called 'bad': known are good"):
        Registry(house, [entry("good", "Good")]).plugin("bad")


def test_two_packages_with_a_plugin_of_one_name_are_told_and_one_that_is_found_twice_is_one(house: House) -> None:
    registry = Registry(
        house, [entry("good", "Good"), entry("good", "Good"), entry("two", "Good"), entry("two", "Other")]
    )
    assert registry.plugin("good").summary == "does what it should"
    with pytest.raises(OperatorError, match="several plugins are called 'two'"):
        registry.plugin("two")


def test_a_plugin_cannot_be_called_like_a_section_of_a_definition(house: House) -> None:
    with pytest.raises(OperatorError, match="no plugin can be called 'store'"):
        Registry(house, [entry("store", "Good")]).plugin("store")
