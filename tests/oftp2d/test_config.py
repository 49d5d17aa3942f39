"""The configuration: defaults, all faults at once, and the commented example."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oftp2d import config
from oftp2d.errors import OperatorError

HOME = Path("/nowhere")


def faults(content: str) -> dict[str, config.Fault]:
    with pytest.raises(config.ConfigurationError) as caught:
        config.parse(content, HOME)
    return {fault.path: fault for fault in caught.value.faults}


def test_an_empty_file_means_a_tls_listener_on_the_usual_port_and_everything_inside_the_home_folder() -> None:
    read = config.parse("", HOME)
    (listener,) = read.listeners
    assert (listener.transport, listener.port) == (config.Transport.TLS, 6619)
    assert read.database_url == "sqlite:////nowhere/ledger.sqlite"
    assert read.spool_path == HOME / "spool"
    assert read.socket_path == HOME / "admin.sock"
    assert read.master_key_path == HOME / "master.key"


def test_a_tcp_listener_has_the_registered_port_unless_told_otherwise() -> None:
    read = config.parse('[[listeners]]\ntransport = "tcp"\n[[listeners]]\nport = 0\n', HOME)
    assert [(listener.transport.value, listener.port) for listener in read.listeners] == [
        ("tcp", 3305),
        ("tls", 0),
    ]


def test_every_fault_is_named_at_once_with_its_path_and_advice() -> None:
    found = faults(
        """
        listener = 3
        [[listeners]]
        port = "6619"
        [[listeners]]
        transport = "udp"
        prot = 4
        port = 70000
        [tls]
        minimum = 1.2
        [session]
        credit = true
        buffer_size = 127
        [retry]
        first_seconds = 100
        max_seconds = 50
        [limits]
        max_sesions = 3
        """
    )
    assert set(found) == {
        "listener",
        "listeners[0].port",
        "listeners[1].transport",
        "listeners[1].prot",
        "listeners[1].port",
        "tls.minimum",
        "session.credit",
        "session.buffer_size",
        "retry",
        "limits.max_sesions",
    }
    assert found["listener"].advice == "did you mean 'listeners'?"
    assert found["limits.max_sesions"].advice == "did you mean 'max_sessions'?"
    assert found["listeners[1].transport"].advice == 'write "tls" or "tcp", with the quotes'
    assert "128 to 99999" in found["session.buffer_size"].advice
    assert all(fault.advice for fault in found.values())


def test_an_unknown_name_that_resembles_nothing_gets_the_list_of_known_ones() -> None:
    advice = faults("[acx]\nqwertz = 1\n")["acx.qwertz"].advice
    assert "clock_tolerance_seconds" in advice
    assert "answers_per_hour" in advice


def test_home_is_no_setting_of_the_file() -> None:
    fault = faults('home = "/elsewhere"\n')["home"]
    assert fault.what == "there is no such setting"


@pytest.mark.parametrize(
    ("content", "path"),
    [
        ("tls = 5", "tls"),
        ("[listeners]\nport = 1", "listeners"),
        ("listeners = []", "listeners"),
        ("listeners = [1]", "listeners[0]"),
        ('[spool]\npath = ""', "spool.path"),
        ('[spool]\npath = "a\\tb"', "spool.path"),
        ("[[listeners]]\n[[listeners]]\n", "(file)"),
        ("this is not toml", "(file)"),
    ],
)
def test_a_wrong_shape_is_a_fault_at_its_place(content: str, path: str) -> None:
    assert list(faults(content)) == [path]


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("enabled = 1", "write one of them, without quotes"),
        ('enabled = "true"', "write one of them, without quotes"),
        ('url = ""', 'write one like "https://host.example/path"'),
        ("url = 5", 'write one like "https://host.example/path"'),
        ('url = "ftp://host.example/list"', 'write one like "https://host.example/path"'),
        ('url = "https:///list"', 'write one like "https://host.example/path"'),
        ('url = "https://user@host.example/list"', 'write one like "https://host.example/path"'),
        ('url = "https://host.example:0/list"', 'write one like "https://host.example/path"'),
        ('url = "https://host.example:99999/list"', 'write one like "https://host.example/path"'),
        ('url = "https://host.example/my list"', 'write one like "https://host.example/path"'),
        ('stamp_url = "list"', 'write one like "https://host.example/path"'),
        ('signer = "ab"', "write 64 hexadecimal digits in quotes; the colons between them do not matter"),
        ("signer = 12", "write 64 hexadecimal digits in quotes; the colons between them do not matter"),
    ],
)
def test_a_trust_list_is_found_at_an_address_and_its_signer_is_a_fingerprint(line: str, advice: str) -> None:
    assert faults(f"[trust_list]\n{line}\n")[f"trust_list.{line.split(maxsplit=1)[0]}"].advice == advice


def test_the_addresses_beside_the_trust_list_may_be_empty_and_a_fingerprint_may_have_colons() -> None:
    read = config.parse(f'[trust_list]\nstamp_url = ""\nsigners_url = ""\nsigner = "{"AB:" * 31}AB"\n', HOME).trust_list
    assert (read.enabled, read.stamp_url, read.signers_url, read.signer) == (False, "", "", "ab" * 32)


def test_another_trust_list_than_odettes_has_no_files_of_odettes_beside_it() -> None:
    read = config.parse('[trust_list]\nurl = "http://127.0.0.1/list.xml"\n', HOME).trust_list
    assert (read.stamp_url, read.signers_url) == ("", "")


def test_the_database_address_is_never_repeated() -> None:
    fault = faults("[database]\nurl = 123456\n")["database.url"]
    assert "123456" not in str(fault)
    read = config.parse('[database]\nurl = "postgresql://u:hush@h/d"\n', HOME)
    assert read.database_url == "postgresql://u:hush@h/d"
    assert "hush" not in repr(read)


def test_the_example_says_exactly_the_defaults_and_names_every_setting() -> None:
    content = config.example()
    assert config.parse(content, HOME) == config.parse("", HOME)
    uncommented = re.sub(r"^#(?=\w+ = )", "", content, flags=re.MULTILINE)
    uncommented = uncommented.replace('url = "..."\n', "\n")
    assert config.parse(uncommented, HOME) == config.parse("", HOME)
    assert max(len(line) for line in content.splitlines()) <= 112


def test_the_example_holds_the_listeners_it_is_given() -> None:
    listeners = (config.Listener(port=0), config.Listener(transport=config.Transport.TCP, host="127.0.0.1"))
    assert config.parse(config.example(listeners), HOME).listeners == listeners


def test_the_home_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OFTP2D_HOME", "/srv/station")
    assert config.home_folder() == Path("/srv/station")
    monkeypatch.delenv("OFTP2D_HOME")
    monkeypatch.setenv("XDG_STATE_HOME", "/srv/state")
    assert config.home_folder() == Path("/srv/state/oftp2d")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.home_folder() == tmp_path / ".local/state/oftp2d"


def test_a_home_folder_without_station_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="oftp2d init"):
        config.load(tmp_path)


def test_a_file_that_is_not_text_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / config.FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(OperatorError, match="can't be read"):
        config.load(tmp_path)


def test_a_loaded_configuration_knows_its_home(tmp_path: Path) -> None:
    (tmp_path / config.FILE_NAME).write_text('[spool]\npath = "/elsewhere"\n')
    read = config.load(tmp_path)
    assert read.home == tmp_path
    assert read.spool_path == Path("/elsewhere")


def test_a_home_folder_too_deep_for_a_socket_is_an_error_for_people() -> None:
    with pytest.raises(OperatorError, match="OFTP2D_HOME"):
        config.socket_path(Path("/") / ("x" * 120))
