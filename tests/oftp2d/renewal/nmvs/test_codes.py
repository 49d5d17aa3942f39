"""Every code of nmvs.md section 4 with what follows from it, by the shipped profile; and codes that nobody has told us of."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oftp2d.renewal.interface import Verdict
from oftp2d.renewal.nmvs.codes import Codes, Group, Patterns, shown
from oftp2d.renewal.nmvs.contract import FOLDER, Profiles

V = Verdict
TABLE = {
    "NMVS_SUCCESS": (V.FETCHED, ""),
    "NMVS_FE_PKI_01": (V.FATAL, "new TAN"),
    "NMVS_FE_PKI_05": (V.FATAL, "help desk"),
    "NMVS_FE_PKI_06": (V.FATAL, "new TAN"),
    "NMVS_FE_PKI_07": (V.NOT_YET, ""),
    "NMVS_FE_PKI_08": (V.FATAL, "help desk"),
    "NMVS_FE_PKI_09": (V.ALREADY, "renew import"),
    "NMVS_FE_AU_01": (V.AUTH_FAILED, "renew secret"),
    "NMVS_FE_AU_06": (V.AUTH_FAILED, "renew secret"),
    "NMVS_FE_AU_10": (V.AUTH_FAILED, "renew secret"),
    "NMVS_FE_AU_17": (V.AUTH_FAILED, "renew secret"),
    "NMVS_FE_AU_02": (V.LOCKED, "unlocked"),
    "NMVS_FE_AU_05": (V.LOCKED, "unlocked"),
    "NMVS_FE_AU_03": (V.LOCKED, "help desk"),
    "NMVS_FE_AU_04": (V.LOCKED, "client_login_id"),
    "NMVS_FE_AU_11": (V.AUTH_FAILED, "set a new password"),
    "NMVS_FE_AU_23": (V.LOCKED, "terms and conditions"),
    "NMVS_FE_AU_24": (V.LOCKED, "which password counts"),
    "NMVS_TE_XM_01": (V.FATAL, "FD-002"),
    "NMVS_TE_XM_02": (V.FATAL, "FD-002"),
    "NMVS_TE_REQ_02": (V.FATAL, "url"),
    "NMVS_TE_TX_01": (V.RETRY, ""),
    "NMVS_TI_AU_01": (V.RETRY, ""),
    "NMVS_TI_RT_01": (V.RETRY, ""),
    "NMVS_TI_RT_02": (V.RETRY, ""),
    "NMVS_TI_TO_01": (V.RETRY, ""),
    "NMVS_TI_XM_01": (V.RETRY, ""),
    "NMVS_ERROR": (V.RETRY, ""),
    "NMVS_FI_SE_CLI_01": (V.RETRY, "tried again later"),
    "NMVS_WF_NC_01": (V.RETRY, ""),
    "NMVS_FE_PMS_02": (V.FATAL, "[password]"),
    "NMVS_FE_PMS_03": (V.FATAL, "[password]"),
    "NMVS_FE_PMS_04": (V.FATAL, "policy"),
}
FAMILIES = {
    "NMVS_FE_AU_99": V.LOCKED,
    "NMVS_FE_PKI_02": V.FATAL,
    "NMVS_FE_XX_01": V.FATAL,
    "NMVS_NC_PC_01": V.FATAL,
    "NMVS_FI_XX_01": V.FATAL,
    "NMVS_TE_XX_01": V.FATAL,
    "NMVS_TI_XX_01": V.RETRY,
    "NMVS_WF_XX_01": V.RETRY,
}
"""Codes that are not known, by what their prefix says: a login that was refused is never tried again."""


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> Codes:
    home = tmp_path_factory.mktemp("home")
    (home / FOLDER).mkdir(parents=True)
    (home / FOLDER / "plain.toml").write_text('[renew]\nurl = "https://localhost/"\n')
    return Profiles(home).contract("plain").codes


@pytest.mark.parametrize("code", TABLE)
def test_each_known_code_has_its_verdict_its_words_and_what_to_do(codes: Codes, code: str) -> None:
    verdict, advice = TABLE[code]
    meaning = codes.meaning(code)
    assert meaning.known
    assert meaning.verdict is verdict
    assert advice in meaning.advice
    if verdict is not V.FETCHED:
        assert meaning.text
    if verdict in {V.AUTH_FAILED, V.LOCKED, V.FATAL, V.ALREADY}:
        assert meaning.advice, "a person must do something, and is not told what"


@pytest.mark.parametrize("code", FAMILIES)
def test_a_code_that_is_not_known_follows_its_family(codes: Codes, code: str) -> None:
    assert codes.meaning(code).verdict is FAMILIES[code]


def test_a_code_of_no_family_is_for_a_person_and_said_to_be_unknown(codes: Codes) -> None:
    meaning = codes.meaning("SOMETHING_ELSE")
    assert (meaning.verdict, meaning.known) == (V.FATAL, False)
    assert "[codes] of the profile" in meaning.advice


def test_who_asked_too_often_waits_for_long(codes: Codes) -> None:
    assert codes.meaning("NMVS_FI_SE_CLI_01").after == timedelta(hours=12)
    assert codes.meaning("NMVS_TI_TO_01").after is None


@given(st.text(max_size=100))
def test_no_code_at_all_does_harm(text: str) -> None:
    found = Codes({Group.SUCCESS: ["A*"], Group.AUTH: ["*B"]}, texts={}, advice={}, after={}).meaning(text)
    assert isinstance(found.verdict, Verdict)
    assert shown(text).isprintable() or not shown(text)
    assert len(shown(text, 64)) <= 64


def test_the_pattern_with_the_most_letters_counts() -> None:
    patterns = Patterns(
        {"*": "any", "NMVS_*": "ours", "NMVS_FE_*": "business", "NMVS_FE_AU_01": "one", "*_01": "first"}
    )
    assert patterns.of("NMVS_FE_AU_01") == "one"
    assert patterns.of("NMVS_FE_AU_02") == "business"
    assert patterns.of("NMVS_TI_01") == "ours"
    assert patterns.of("X_01") == "first"
    assert patterns.of("?") == "any"
    assert Patterns({"A.C": 1}).of("ABC") is None


def test_the_shipped_profile_has_every_code_of_the_table_by_its_name() -> None:
    shipped = (Path(__file__).parents[4] / "oftp2d/renewal/nmvs/profile.toml").read_text("utf-8")
    assert all(f'"{code}"' in shipped for code in TABLE)
