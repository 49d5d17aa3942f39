"""Definitions of credential sets: what a file says, all its faults at once, and what stays when a file is spoilt."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from oftp2.certs.usages import Usage
from oftp2d.renewal.definitions import Form
from oftp2d.renewal.interface import GROUP, Answer, Case, House, Plugin
from oftp2d.renewal.plugins import Registry
from oftp2d.renewal.rules import Demands, Identity
from oftp2d.renewal.sets import Folder, defined, example
from oftp2d.renewal.timetable import Terms
from oftp2d.sections import Fault, FaultsError
from oftp2d.settings import REQUIRED, flag, secret_reference, text, whole
from oftp2d.vault import Secret
from oftp2d.workers import Workers


@attrs.frozen(kw_only=True)
class Options:
    """What the source of these tests wants to know."""

    user: str = text(20, REQUIRED, "Who it is.", example="user")
    password: str = secret_reference(REQUIRED, "Where the password is.")
    port: int = whole(1, 65535, 443, "Where it listens.")
    odd: bool = flag(False, "Whether it is odd.")


class Source(Plugin):
    """A source that is never asked."""

    summary = "for tests"
    options = Options
    secrets = ("password",)
    demands = Demands(extended_usages=("1.2.3",))

    def usual(self, options: Any) -> Terms:
        return Terms(lead_days=20, alarm_days=10, critical_days=options.port) if options.port < 5 else Terms()

    def check(self, options: Any) -> Iterable[str]:
        return ["it is odd; make it even"] if options.odd else ()

    async def fetch(self, case: Case, now: datetime, tan: Secret[str] | None = None) -> Answer:
        raise NotImplementedError


def installed(home: Path) -> Registry:
    clock = Clock()
    house = House(reactor=clock, workers=Workers(clock), home=home)  # type: ignore[arg-type]
    mine = EntryPoint(name="source", value=f"{__name__}:Source", group=GROUP)
    return Registry(house, [mine, EntryPoint(name="broken", value="no.such.module:Plugin", group=GROUP)])


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return installed(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, registry: Registry) -> Folder:
    (tmp_path / "renewal").mkdir()
    return Folder(tmp_path, registry)


def write(tmp_path: Path, content: str, name: str = "sites.toml") -> Path:
    path = tmp_path / "renewal" / name
    path.write_text(content)
    return path


GOOD = """
[[set]]
name = "one"
plugin = "source"
[set.source]
user = "me"
password = "store"
"""


def test_no_folder_is_no_set_and_no_fault(tmp_path: Path, registry: Registry) -> None:
    read = Folder(tmp_path, registry).read()
    assert (dict(read.sets), read.faults) == ({}, ())


def test_a_set_has_what_it_says_and_what_its_plugin_has_beside_it(tmp_path: Path, folder: Folder) -> None:
    write(tmp_path, GOOD)
    read = folder.read()
    assert read.faults == ()
    one = read.sets["one"]
    assert (one.plugin, one.file, one.auto_renew, one.auto_activate) == ("source", "sites.toml", True, True)
    assert one.options == Options(user="me", password="store")
    assert (one.terms, one.demands, one.consumers) == (Terms(), Source.demands, ())


def test_what_is_common_counts_for_each_set_section_by_section(tmp_path: Path, folder: Folder) -> None:
    write(
        tmp_path,
        """
        [common]
        plugin = "source"
        contact = "edi@company.example"
        [common.source]
        user = "all"
        password = "store"
        [common.terms]
        alarm_days = 25
        [common.export]
        form = "pem"
        [[set]]
        name = "one"
        [set.export]
        folder = "out"
        form = "p12"
        [[set]]
        name = "two"
        contact = "two@company.example"
        auto_activate = false
        [set.source]
        user = "two"
        [set.terms]
        lead_days = 40
        [set.demands]
        identity = "pattern"
        pattern = "CN=two.*"
        [set.export]
        folder = "other"
        [set.store]
        stations = ["O0013000001TEST"]
        usages = ["signature", "tls_client"]
        [set.hook]
        command = ["/bin/true"]
        """,
    )
    read = folder.read()
    assert read.faults == ()
    one, two = read.sets["one"], read.sets["two"]
    assert (one.contact, two.contact) == ("edi@company.example", "two@company.example")
    assert (one.options.user, two.options.user, two.options.password) == ("all", "two", "store")
    assert (one.terms.lead_days, one.terms.alarm_days) == (60, 25)
    assert (two.terms.lead_days, two.terms.alarm_days) == (40, 25)
    assert (two.demands.identity, two.demands.extended_usages) == (Identity.PATTERN, ("1.2.3",))
    assert one.export is not None
    assert two.export is not None
    assert (one.export.form, two.export.form, two.export.folder) == (Form.P12, Form.PEM, Path("other"))
    assert (one.consumers, two.consumers) == (("export",), ("store", "export", "hook"))
    assert two.store is not None
    assert two.store.usages == {Usage.SIGNATURE, Usage.TLS_CLIENT}


def test_a_set_counts_from_the_terms_that_its_plugin_has_with_its_options(tmp_path: Path, folder: Folder) -> None:
    write(tmp_path, GOOD + "port = 3\n[set.terms]\nalarm_days = 9\n")
    assert folder.read().sets["one"].terms == Terms(lead_days=20, alarm_days=9, critical_days=3)


def test_every_fault_is_named_at_once_with_its_file_its_set_and_advice(tmp_path: Path, folder: Folder) -> None:
    write(
        tmp_path,
        """
        [[set]]
        name = "Capital"
        plugin = "source"
        auto_renew = "yes"
        contakt = "me"
        [set.source]
        user = ""
        password = "hunter2"
        prot = 4
        [set.terms]
        alarm_days = 90
        [set.demands]
        pattern = "("
        extended_usages = ["clientAuth"]
        [set.store]
        stations = "O1"
        usages = ["sign"]
        [set.export]
        folder = "../elsewhere"
        [set.hook]
        command = ["program"]
        [[set]]
        plugin = "sauce"
        [set.sauce]
        user = "me"
        [[set]]
        name = "three"
        plugin = "broken"
        [set.broken]
        [[set]]
        name = "four"
        plugin = "source"
        [set.source]
        user = "me"
        password = "store"
        odd = true
        [set.demands]
        identity = "pattern"
        """,
    )
    write(tmp_path, "[[set]\n", "syntax.toml")
    write(tmp_path, "[sets]\n", "other.toml")
    read = folder.read()
    assert read.sets == {}
    found = {(each.file, each.name, each.fault.path): each.fault for each in read.faults}
    assert set(found) == {
        ("sites.toml", "Capital", "name"),
        ("sites.toml", "Capital", "auto_renew"),
        ("sites.toml", "Capital", "contakt"),
        ("sites.toml", "Capital", "source.user"),
        ("sites.toml", "Capital", "source.password"),
        ("sites.toml", "Capital", "source.prot"),
        ("sites.toml", "Capital", "terms"),
        ("sites.toml", "Capital", "demands.pattern"),
        ("sites.toml", "Capital", "demands.extended_usages"),
        ("sites.toml", "Capital", "store.stations"),
        ("sites.toml", "Capital", "store.usages"),
        ("sites.toml", "Capital", "export.folder"),
        ("sites.toml", "Capital", "hook"),
        ("sites.toml", "", "set[1].name"),
        ("sites.toml", "", "set[1].plugin"),
        ("sites.toml", "three", "plugin"),
        ("sites.toml", "four", "source"),
        ("sites.toml", "four", "demands.pattern"),
        ("syntax.toml", "", "(file)"),
        ("other.toml", "", "sets"),
    }
    assert found["sites.toml", "Capital", "contakt"].advice == "did you mean 'contact'?"
    assert (found["sites.toml", "four", "source"].what, found["sites.toml", "four", "source"].advice) == (
        "it is odd",
        "make it even",
    )
    assert "cannot be loaded (ModuleNotFoundError" in found["sites.toml", "three", "plugin"].what
    assert "known are broken, source" in found["sites.toml", "", "set[1].plugin"].advice
    assert all(each.advice for each in found.values())
    # A password that was written where its place belongs is repeated nowhere.
    assert "hunter2" not in str([str(each) for each in read.faults])


def test_at_the_start_the_sets_without_fault_run(tmp_path: Path, folder: Folder) -> None:
    write(tmp_path, GOOD + GOOD.replace("one", "two").replace('"me"', "3"))
    read = folder.read()
    assert set(read.sets) == {"one"}
    assert [each.name for each in read.faults] == ["two"]


def test_a_file_that_gets_a_fault_keeps_the_sets_that_it_had(tmp_path: Path, folder: Folder) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("one", "other"), "other.toml")
    folder.read()
    write(tmp_path, GOOD.replace('"me"', "3").replace("[[set]]", '[[set]]\ncontact = "new"'))
    (tmp_path / "renewal" / "other.toml").unlink()
    read = folder.read()
    assert set(read.sets) == {"one"}
    assert (read.sets["one"].options.user, read.sets["one"].contact) == ("me", "")
    assert [str(fault) for fault in read.faults_of("one")] == [
        'renewal/sites.toml: one: source.user: 3 is not a text; write it in quotes, like "text"'
    ]
    write(tmp_path, GOOD.replace('"me"', '"you"'))
    read = folder.read()
    assert (read.sets["one"].options.user, read.faults) == ("you", ())


def test_two_sets_never_export_into_one_folder_whatever_it_is_called(tmp_path: Path, folder: Folder) -> None:
    (tmp_path / "link").symlink_to("out")
    write(tmp_path, GOOD + '[set.export]\nfolder = "out"\n', "a.toml")
    write(tmp_path, GOOD.replace("one", "other") + '[set.export]\nfolder = "link"\n', "b.toml")
    read = folder.read()
    assert list(read.sets) == ["one"]
    assert [str(fault) for fault in read.faults] == [
        "renewal/b.toml: other: export.folder: the credential of one is exported there; give each set a folder of its own"
    ]


def test_two_sets_of_one_name_are_a_fault_and_the_first_one_runs(tmp_path: Path, folder: Folder) -> None:
    write(tmp_path, GOOD, "a.toml")
    write(tmp_path, GOOD.replace('"me"', '"you"'), "b.toml")
    read = folder.read()
    assert read.sets["one"].options.user == "me"
    assert [str(fault) for fault in read.faults] == [
        "renewal/b.toml: one: name: renewal/a.toml has a set of this name; give one of them another name"
    ]


def test_a_file_that_is_none_or_that_everybody_can_write_is_not_read(tmp_path: Path, folder: Folder) -> None:
    write(tmp_path, GOOD).chmod(0o646)
    os.mkfifo(tmp_path / "renewal" / "pipe.toml")
    (tmp_path / "renewal" / "folder.toml").mkdir()
    (tmp_path / "renewal" / "dangling.toml").symlink_to("nowhere")
    (tmp_path / "renewal" / "latin.toml").write_bytes(b"# \xff")
    read = folder.read()
    assert read.sets == {}
    whats = {each.file: each.fault.what for each in read.faults}
    assert whats["sites.toml"] == "everybody can write it"
    assert whats["pipe.toml"] == "it is no file"
    assert set(whats) == {"sites.toml", "pipe.toml", "folder.toml", "dangling.toml", "latin.toml"}


@pytest.mark.parametrize("content", ["x = " + "9" * 5000, "x = " + "[" * 100_000, "x = 2027-13-01", "\0", '"'])
def test_no_file_is_spoilt_enough_to_keep_others_from_being_read(tmp_path: Path, folder: Folder, content: str) -> None:
    write(tmp_path, GOOD)
    write(tmp_path, content, "a.toml")
    read = folder.read()
    assert set(read.sets) == {"one"}
    assert [(each.file, each.fault.path) for each in read.faults] == [("a.toml", "(file)")]


_KEYS = st.sampled_from(
    [
        "name",
        "plugin",
        "contact",
        "auto_renew",
        "source",
        "terms",
        "demands",
        "store",
        "export",
        "hook",
        "user",
        "password",
        "lead_days",
        "identity",
        "pattern",
        "extended_usages",
        "stations",
        "usages",
        "folder",
        "form",
        "command",
        "seconds",
    ]
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70) | st.datetimes() | st.just("source"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(table=st.dictionaries(_KEYS, _VALUES))
def test_whatever_stands_in_a_table_ends_in_a_set_or_in_faults_with_advice(
    table: dict[str, Any],
) -> None:
    faults: tuple[Fault, ...] | None = None
    try:
        defined({"name": "one", "plugin": "source"} | table, installed(Path("/nowhere")))
    except FaultsError as error:
        faults = error.faults
    assert faults is None or (faults and all(each.what and each.advice for each in faults))


def test_the_folder_has_changed_when_a_file_in_it_or_of_a_plugin_has(tmp_path: Path, folder: Folder) -> None:
    assert folder.changed()
    folder.read()
    assert not folder.changed()
    path = write(tmp_path, GOOD)
    assert folder.changed()
    folder.read()
    assert not folder.changed()
    path.unlink()
    assert folder.changed()
    folder.read()
    (tmp_path / "renewal" / "profiles").mkdir()
    write(tmp_path, "", "profiles/site.toml")
    assert folder.changed()


def test_the_example_of_a_plugin_is_read_without_a_fault(tmp_path: Path, folder: Folder, registry: Registry) -> None:
    content = example("source", registry.plugin("source"))
    write(tmp_path, content)
    read = folder.read()
    assert read.faults == ()
    assert set(read.sets) == {"pharmacy-1"}
    # And so it is with everything that may be left out.
    write(tmp_path, re.sub("^#(?! )", "", content, flags=re.MULTILINE))
    read = folder.read()
    assert read.faults == ()
    assert read.sets["pharmacy-1"].consumers == ("store", "export", "hook")
