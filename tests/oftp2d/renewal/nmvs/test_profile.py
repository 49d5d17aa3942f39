"""Profiles: what is laid over what, every fault at once, and none that is not verified leads off this machine."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from oftp2d.errors import OperatorError
from oftp2d.renewal.nmvs.contract import FOLDER, Contract, ProfileError, Profiles, shipped
from oftp2d.renewal.nmvs.profile import Profile, is_loopback

HERE = '[renew]\nurl = "https://localhost:8458/x"\n'


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / FOLDER).mkdir(parents=True)
    return tmp_path


def read(home: Path, text: str, name: str = "here") -> Contract:
    (home / FOLDER / f"{name}.toml").write_text(text, "utf-8")
    return Profiles(home).contract(name)


def faults(home: Path, text: str) -> dict[str, str]:
    with pytest.raises(ProfileError) as error:
        read(home, text)
    assert all(fault.advice for fault in error.value.faults)
    return {fault.path: fault.what for fault in error.value.faults}


def test_the_shipped_profile_has_no_address_and_is_not_verified() -> None:
    found = tomllib.loads(shipped())
    assert found["verified"] is False
    assert [section["url"] for section in found.values() if isinstance(section, dict) and "url" in section] == [""] * 5
    assert not re.search(r"https?://", shipped())


def test_each_guess_of_the_shipped_profile_says_how_sure_it_is() -> None:
    guesses = (
        "element",
        "operation",
        "action",
        "content_type",
        "tan_mode",
        "version",
        "cert",
        "passphrase",
        "encoding",
    )
    for section in ("soap", "ns", "request", "response", "probe", "password"):
        part = shipped().partition(f"\n[{section}]\n")[2].partition("\n[")[0]
        lines = part.splitlines()
        for number, line in enumerate(lines):
            if line.partition(" =")[0] in guesses and section != "confirm":
                near = "\n".join(lines[max(0, number - 3) : number + 1])
                assert re.search(r"\[[HML?]\]", near), f"{section}: {line}"


def test_a_profile_is_the_shipped_one_with_what_it_says_itself(home: Path) -> None:
    profile = read(
        home, HERE + '[ns]\nversion = "4.0"\n[codes]\nretry = ["ONE"]\n[codes.text]\n"ONE" = "one"\n'
    ).profile
    assert profile.ns["types"] == "urn:types.nmvs.eu:v4.0"
    assert profile.codes.retry == ("ONE",)
    assert profile.codes.text["ONE"] == "one"
    assert profile.codes.text["NMVS_FE_PKI_07"]
    assert profile.request.client_trx_id_length == 32


def test_the_numbers_of_the_profile_are_those_of_the_renewal(home: Path) -> None:
    terms = read(
        home,
        HERE
        + "[days]\nlead_days = 30\nalarm_days = 20\n[limits]\nmin_interval_minutes = 45\nmax_attempts_per_day = 5\n",
    ).profile.terms
    assert (terms.lead_days, terms.alarm_days, terms.critical_days, terms.valid_days) == (30, 20, 7, 730)
    assert (terms.least_minutes, terms.most_attempts) == (45, 5)


def test_every_fault_of_form_is_told_at_once(home: Path) -> None:
    found = faults(
        home,
        'verfied = true\n[renew]\nurl = "http://localhost/"\n[soap]\nversion = "1.3"\n[request]\ntan_mode = "no"\n'
        '[limits]\nmax_auth_failures = 2\n[tls]\nverify = false\n[password]\nlead_days = 100\n[ns]\nsoap = "urn:x"\n',
    )
    assert set(found) == {
        "verfied",
        "renew.url",
        "soap.version",
        "request.tan_mode",
        "limits.max_auth_failures",
        "tls.verify",
        "password",
        "ns",
    }


def test_every_fault_of_contents_is_told_at_once(home: Path) -> None:
    found = faults(
        home,
        '[tan]\nurl = "https://localhost/"\nelement = "Nothing"\n[probe]\nurl = "https://localhost/"\n'
        'body = "<types:Password>{password}</types:Password>"\n[confirm]\nenabled = true\nelement = "types:C"\nbody = "<a>"\n'
        'response = "types:D"\n[request]\nelement = "x:Y"\ntan_mode = "fixed"\n[request.longest]\nnobody = 3\n'
        '[response]\ncert = "types:Body["\ncode = "nix:Body"\npassphrase = ""\n',
    )
    assert set(found) == {
        "renew.url",
        "request.element",
        "tan.element",
        "probe.body",
        "confirm.url",
        "confirm.body, or request.header",
        "request.tan",
        "request.longest.nobody",
        "response.cert",
        "response.code",
        "response.passphrase",
    }


def test_what_is_no_toml_and_what_is_not_there_is_said(home: Path) -> None:
    assert "(file)" in faults(home, "verified = ")
    with pytest.raises(OperatorError, match=r"there is no file .*gone\.toml"):
        Profiles(home).contract("gone")


def test_a_code_can_mean_one_thing_only(home: Path) -> None:
    assert (
        "'NMVS_SUCCESS' is in success and in retry"
        in faults(home, HERE + '[codes]\nretry = ["NMVS_SUCCESS"]\n')["codes"]
    )


@pytest.mark.parametrize(
    "host", ["nmvs.example", "localhost.example", "10.0.0.1", "127.0.0.1.example", "[::2]", "192.0.2.1", "127.1"]
)
def test_a_profile_that_nobody_has_verified_leads_nowhere_else(home: Path, host: str) -> None:
    text = f'[renew]\nurl = "https://{host}:8458/x"\n'
    assert set(faults(home, text)) == {"verified"}
    assert read(home, "verified = true\n" + text).profile.hosts == (host.strip("[]"),)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]"])
def test_a_profile_that_nobody_has_verified_serves_on_this_machine(home: Path, host: str) -> None:
    assert not read(home, f'[renew]\nurl = "https://{host}:8458/x"\n').profile.verified
    assert is_loopback(host.strip("[]"))


@pytest.mark.parametrize(
    "more",
    [
        '[tan]\nurl = "https://nmvs.example/"\n',
        '[probe]\nurl = "https://nmvs.example/"\n',
        '[password]\nurl = "https://nmvs.example/"\n',
        '[confirm]\nenabled = false\nurl = "https://nmvs.example/"\n',
        '[tls]\nproxy = "proxy.example:3128"\n',
    ],
)
def test_one_host_elsewhere_is_enough(home: Path, more: str) -> None:
    assert set(faults(home, HERE + more)) == {"verified"}


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/",
        "https://",
        "https://user:x@localhost/",
        "https://localhost:0/",
        "https://localhost/a b",
        "ftp://x/",
    ],
)
def test_what_is_no_address_of_https_is_a_fault(home: Path, url: str) -> None:
    assert "renew.url" in faults(home, f'[renew]\nurl = "{url}"\n')


def test_a_template_beside_the_profile_wins_and_is_read_anew_when_it_changes(home: Path) -> None:
    template = home / FOLDER / "whole.xml"
    template.write_text("<a><b>{user_id}</b></a>")
    contract = read(home, HERE + '[request]\ntemplate = "whole.xml"\n')
    assert contract.renew.layout.names == {"user_id"}
    profiles = Profiles(home)
    first = profiles.contract("here")
    assert profiles.contract("here") is first
    template.write_text("<a><b>{user_id} {language}</b></a>")
    assert profiles.contract("here").renew.layout.names == {"user_id", "language"}


@pytest.mark.parametrize(("content", "what"), [("<a>{nobody}</a>", "placeholder"), ("<a>", "not well-formed")])
def test_a_template_with_a_fault_is_one_of_the_profile(home: Path, content: str, what: str) -> None:
    (home / FOLDER / "whole.xml").write_text(content)
    assert what in faults(home, HERE + '[request]\ntemplate = "whole.xml"\n')["request.template"]


@pytest.mark.parametrize("name", ["../whole.xml", "/etc/passwd", ".hidden", "a/b"])
def test_a_template_lies_beside_the_profile_and_nowhere_else(home: Path, name: str) -> None:
    assert set(faults(home, HERE + f'[request]\ntemplate = "{name}"\n')) == {"request.template"}


def test_a_profile_is_read_anew_when_it_changes(home: Path) -> None:
    profiles = Profiles(home)
    path = home / FOLDER / "here.toml"
    path.write_text(HERE)
    assert profiles.contract("here").profile.description
    path.write_text('description = "another"\n' + HERE)
    assert profiles.contract("here").profile.description == "another"


def test_a_profile_that_is_no_file_or_too_large_is_not_read(home: Path) -> None:
    os.mkfifo(home / FOLDER / "pipe.toml")
    with pytest.raises(OperatorError, match="there is no file"):
        Profiles(home).contract("pipe")
    (home / FOLDER / "large.toml").write_bytes(b"#" * 1_048_577)
    with pytest.raises(OperatorError, match="octets"):
        Profiles(home).contract("large")


@pytest.mark.parametrize(
    ("soap", "content_type", "action"),
    [
        ('version = "1.2"', 'application/soap+xml; charset=utf-8; action="urn:G615DownloadClientCertificate"', ""),
        (
            'version = "1.1"\ncontent_type = "text/xml"',
            "text/xml; charset=utf-8",
            '"urn:G615DownloadClientCertificate"',
        ),
        ('content_type = "text/xml"\naction = ""', "text/xml; charset=utf-8", ""),
    ],
)
def test_the_action_stands_where_the_version_of_soap_wants_it(
    home: Path, soap: str, content_type: str, action: str
) -> None:
    message = read(home, HERE + f"[soap]\n{soap}\n").renew
    assert (message.content_type, message.action) == (content_type, action)


def test_no_secret_of_the_contract_is_in_the_repr_of_a_profile(home: Path) -> None:
    profile = read(home, HERE + '[request]\ntan_mode = "fixed"\ntan = "s3cretTAN"\n').profile
    assert isinstance(profile, Profile)
    assert "s3cretTAN" not in repr(profile)
