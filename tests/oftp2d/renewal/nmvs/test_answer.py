"""What is made of answers: of those that are as they should be, and of everything else that a server can send."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oftp2d.renewal.interface import Notification, Refusal, Verdict
from oftp2d.renewal.nmvs.answer import Certificate, RefusedError, answered, brings_nothing, certificate, understood
from oftp2d.renewal.nmvs.contract import FOLDER, Contract, Profiles
from oftp2d.renewal.nmvs.reply import NoReplyError, Reply
from oftp2d.vault import Secret
from tests.oftp2d.renewal.nmvs.service import cert, envelope

P12 = bytes(range(256)) * 4
HERE = '[renew]\nurl = "https://localhost/"\n[probe]\nurl = "https://localhost/"\n'
XML = "application/soap+xml; charset=utf-8"

Made = Callable[..., Contract]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / FOLDER).mkdir(parents=True)
    return home


@pytest.fixture(scope="module")
def profiled(home: Path) -> Made:
    def made(more: str = "") -> Contract:
        (home / FOLDER / "here.toml").write_text(HERE + more)
        return Profiles(home).contract("here")

    return made


@pytest.fixture(scope="module")
def usual(profiled: Made) -> Contract:
    return profiled()


def got(
    contract: Contract,
    body: bytes,
    *,
    kind: str = XML,
    status: int = 200,
    tan: str | None = None,
    agreed: str | None = None,
) -> Certificate | Refusal:
    """What the plugin gets out of an answer."""
    reply = Reply.of(Reply(status=status, body=body, content_type=kind).kept())
    try:
        said = understood(contract, contract.renew.response, reply, ["s3cret", tan or ""])
        if said.verdict is not Verdict.FETCHED:
            return brings_nothing(contract, said)
        return certificate(contract, said, Secret(tan.encode()) if tan else None, Secret(agreed) if agreed else None)
    except RefusedError as error:
        return error.refusal


def refused(contract: Contract, body: bytes, **more: object) -> Refusal:
    found = got(contract, body, **more)  # type: ignore[arg-type]
    assert isinstance(found, Refusal), found
    assert found.text.isprintable()
    assert len(found.text) < 600
    assert "s3cret" not in repr(found)
    return found


def taken(contract: Contract, body: bytes, **more: object) -> tuple[bytes, bytes | None]:
    found = got(contract, body, **more)  # type: ignore[arg-type]
    assert isinstance(found, Certificate), found
    return found.content.reveal(), found.passphrase.reveal() if found.passphrase else None


# --- where things are --------------------------------------------------------------------------------------------------


def test_certificate_and_passphrase_come_out_of_an_answer(usual: Contract) -> None:
    body = envelope("NMVS_SUCCESS", cert=cert(P12, "&lt;a&amp;&quot;b&apos;&gt; "))
    # White space in an attribute is a blank, and its last one belongs to the passphrase.
    assert taken(usual, body) == (P12, b"<a&\"b'> ")


@pytest.mark.parametrize("version", ["2.0", "4.0", "5.0"])
def test_each_version_of_the_interface_has_its_namespaces(profiled: Made, version: str) -> None:
    contract = profiled(f'[ns]\nversion = "{version}"\n')
    assert taken(contract, envelope("NMVS_SUCCESS", cert=cert(P12), version=version)) == (P12, b"geheim&1")


def test_an_answer_of_another_version_says_which_it_is(usual: Contract) -> None:
    found = refused(usual, envelope("NMVS_SUCCESS", cert=cert(P12), version="6.0"))
    assert found.verdict is Verdict.FATAL
    assert "another version of the interface: urn:wsdltypes.nmvs.eu:v6.0" in found.text
    assert "[ns]" in found.advice


def test_attributes_count_in_their_namespace_only(usual: Contract) -> None:
    bare = envelope("NMVS_SUCCESS", cert=cert(P12)).replace(b"a:passphrase", b"passphrase")
    assert refused(usual, bare).text == "the certificate came without its passphrase"
    assert refused(usual, envelope("NMVS_SUCCESS").replace(b"a:code", b"code")).text == "the answer has no result code"


def test_the_passphrase_may_be_an_element(profiled: Made) -> None:
    contract = profiled('[response]\npassphrase = "types:Body/types:Secret"\n')
    body = envelope("NMVS_SUCCESS", cert=cert(P12, None) + "<a:Secret>pa<!-- -->ss &amp; word</a:Secret>")
    assert taken(contract, body) == (P12, b"pass & word")


def test_the_passphrase_may_be_the_tan(profiled: Made) -> None:
    contract = profiled('[response]\npassphrase_from = "tan"\n')
    body = envelope("NMVS_SUCCESS", cert=cert(P12, None))
    assert taken(contract, body, tan="TAN-12345") == (P12, b"TAN-12345")
    assert "to be the TAN" in refused(contract, body).text


def test_the_passphrase_may_have_been_agreed_on(profiled: Made) -> None:
    contract = profiled('[response]\npassphrase_from = "secret"\n')
    body = envelope("NMVS_SUCCESS", cert=cert(P12, None))
    assert taken(contract, body, agreed="agr33d") == (P12, b"agr33d")
    assert "no passphrase was agreed on" in refused(contract, body).text


def test_there_may_be_no_passphrase(profiled: Made) -> None:
    assert taken(profiled('[response]\npassphrase_from = "none"\n'), envelope("NMVS_SUCCESS", cert=cert(P12))) == (
        P12,
        None,
    )


def test_the_certificate_may_be_hexadecimal(profiled: Made) -> None:
    body = envelope("NMVS_SUCCESS", cert=f'<a:Cert a:passphrase="x">\n{P12.hex()}\n</a:Cert>')
    contract = profiled('[response]\nencoding = "hex"\n')
    assert taken(contract, body) == (P12, b"x")
    assert "not written in hex" in refused(contract, envelope("NMVS_SUCCESS", cert=cert(P12))).text


def test_the_certificate_may_be_pem(profiled: Made) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    body = envelope("NMVS_SUCCESS", cert=f'<a:Cert a:passphrase="x">{pem}</a:Cert>')
    assert taken(profiled('[response]\nencoding = "pem"\n'), body) == (pem.encode(), b"x")


INCLUDE = '<a:Cert a:passphrase="x"><i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:p12%40test"/></a:Cert>'
RELATED = 'multipart/related; type="application/xop+xml"; boundary="cut"; start="<root@test>"'


def related(body: bytes, *, name: str = "p12@test", end: bytes = b"\r\n") -> bytes:
    lines = [
        b"--cut",
        b'Content-Type: application/xop+xml; type="application/soap+xml"',
        b"Content-ID: <root@test>",
        b"",
        body,
        b"--cut",
        b"Content-Type: application/octet-stream",
        b"Content-Transfer-Encoding: base64",
        f"Content-ID: <{name}>".encode(),
        b"",
        base64.encodebytes(P12),
        b"--cut--",
        b"",
    ]
    return end.join(lines)


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_parts_end_with_either_end_of_line(profiled: Made, end: bytes) -> None:
    contract = profiled('[response]\nencoding = "mtom"\n')
    assert taken(contract, related(envelope("NMVS_SUCCESS", cert=INCLUDE), end=end), kind=RELATED) == (P12, b"x")


def test_an_attachment_of_plain_octets_comes_out_as_it_is(profiled: Made) -> None:
    body = related(envelope("NMVS_SUCCESS", cert=INCLUDE)).replace(b": base64", b": binary")
    body = body.replace(base64.encodebytes(P12), b"\r\n--cut-not\r\n\0\r\n")
    assert taken(profiled('[response]\nencoding = "mtom"\n'), body, kind=RELATED)[0] == b"\r\n--cut-not\r\n\0\r\n"


def test_the_certificate_may_be_an_attachment(profiled: Made) -> None:
    contract = profiled('[response]\nencoding = "mtom"\n')
    body = envelope("NMVS_SUCCESS", cert=INCLUDE)
    assert taken(contract, related(body), kind=RELATED) == (P12, b"x")
    assert "attachment with the certificate is missing" in refused(contract, related(body, name="b"), kind=RELATED).text
    assert "attachment with the certificate is missing" in refused(contract, body).text


def test_an_attachment_that_nobody_expects_is_named(usual: Contract) -> None:
    found = refused(usual, related(envelope("NMVS_SUCCESS", cert=INCLUDE)), kind=RELATED)
    assert found.text == "the certificate came as an attachment"
    assert 'encoding = "mtom"' in found.advice


def test_a_message_of_one_part_is_one_all_the_same(usual: Contract) -> None:
    assert taken(usual, related(envelope("NMVS_SUCCESS", cert=cert(P12))), kind=RELATED) == (P12, b"geheim&1")


@pytest.mark.parametrize(
    "kind", ["multipart/related", 'multipart/related; boundary="other"', 'multipart/related; boundary=""']
)
def test_a_message_of_several_parts_that_cannot_be_taken_apart_is_named(usual: Contract, kind: str) -> None:
    found = refused(usual, related(envelope("NMVS_SUCCESS")), kind=kind)
    assert (found.verdict, "of several parts" in found.text) == (Verdict.FATAL, True)


def test_more_parts_than_anybody_needs_are_refused(usual: Contract) -> None:
    many = b"".join(b"--cut\r\nContent-Type: text/plain\r\n\r\nx\r\n" for _ in range(100)) + b"--cut--\r\n"
    assert "of several parts" in refused(usual, many, kind=RELATED).text


# --- result codes and what rides along ---------------------------------------------------------------------------------


def test_a_code_comes_with_its_words_and_the_number_for_the_help_desk(usual: Contract) -> None:
    found = refused(usual, envelope("NMVS_FE_PKI_07", desc="No new certificate"))
    assert found == Refusal(
        verdict=Verdict.NOT_YET,
        code="NMVS_FE_PKI_07",
        text="there is no new certificate for the user yet (No new certificate)",
        transaction="0123456789ABCDEF0123456789ABCDEF",
        understood=True,
    )


@pytest.mark.parametrize("code", ["NMVS_FE_PKI_07", "NMVS_FE_PKI_09", "NMVS_ERROR", "NMVS_FE_PKI_01", "NMVS_NEW"])
def test_a_certificate_that_came_without_success_is_a_case_for_a_person(usual: Contract, code: str) -> None:
    found = refused(usual, envelope(code, cert=cert(P12)))
    assert (found.verdict, found.understood, found.code) == (Verdict.FATAL, False, code)
    assert found.text.startswith("a certificate came, but not with success: ")


@pytest.mark.parametrize(
    ("code", "verdict"), [("NMVS_FE_AU_01", Verdict.AUTH_FAILED), ("NMVS_FE_AU_02", Verdict.LOCKED)]
)
def test_what_is_said_of_the_login_counts_whatever_came_with_it(usual: Contract, code: str, verdict: Verdict) -> None:
    assert refused(usual, envelope(code, cert=cert(P12))).verdict is verdict


def test_an_unknown_code_is_kept_as_it_came_short_and_printable(usual: Contract) -> None:
    found = refused(usual, envelope("NEW&#10;CODE" + "x" * 500, desc="  something\nelse "))
    assert found.verdict is Verdict.FATAL
    assert found.code.startswith("NEW CODExxx")
    assert len(found.code) == 64
    assert (found.text, found.understood) == ("something else", False)
    assert "not known here" in refused(usual, envelope("NEW")).text


def test_what_the_server_repeats_of_a_secret_is_not_repeated(usual: Contract) -> None:
    note = '<a:Notification a:notificationCode="s3cret" a:notificationDesc="your password is s3cret"/>'
    found = refused(usual, envelope("NMVS_FE_AU_06s3cret", desc="not s3cret", header=note, trxid="s3cret"))
    assert found.text == "the login was refused (not ***)"
    tan = refused(usual, envelope("NMVS_FE_PKI_06", desc="TAN-12345 was used"), tan="TAN-12345")
    assert "TAN-12345" not in tan.text


def test_notifications_ride_along(usual: Contract) -> None:
    notes = "".join(
        f'<a:Notification a:notificationCode="N{n}" a:notificationDesc="ends in {n} days"/>' for n in range(50)
    )
    found = refused(usual, envelope("NMVS_FE_PKI_07", header=notes))
    assert found.notifications[0] == Notification(code="N0", text="ends in 0 days", days=0)
    assert len(found.notifications) == 20


# --- what is no answer of the service ----------------------------------------------------------------------------------

FAULT_12 = b"""<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body><e:Fault><e:Code><e:Value>e:%s</e:Value></e:Code>
<e:Reason><e:Text xml:lang="en">no way, s3cret</e:Text></e:Reason></e:Fault></e:Body></e:Envelope>"""
FAULT_11 = b"""<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault><faultcode>e:%s</faultcode>
<faultstring>no way</faultstring></e:Fault></e:Body></e:Envelope>"""
SUBCODE = (FAULT_12 % b"Sender").replace(
    b"</e:Code>", b"<e:Subcode><e:Value>w:AuthFailed</e:Value></e:Subcode></e:Code>"
)
HTML = b"<!DOCTYPE html><html><body><p>Sign in</body></html>"
BOMB = b'<!DOCTYPE e [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;&a;">]>' + envelope("&b;")
EMPTY = b'<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body/></e:Envelope>'
V = Verdict
ODD = {
    "html": (HTML, 200, V.FATAL, "a web page came instead"),
    "xhtml": (b'<html xmlns="http://www.w3.org/1999/xhtml"><body/></html>', 200, V.FATAL, "a web page came instead"),
    "a fault of the sender": (FAULT_12 % b"Sender", 200, V.FATAL, "SOAP fault: no way"),
    "a fault of the receiver": (FAULT_12 % b"Receiver", 500, V.RETRY, "SOAP fault: no way"),
    "a fault of nobody": (FAULT_12 % b"", 500, V.FATAL, "SOAP fault: no way"),
    "an older fault": (FAULT_11 % b"Client.Sub", 500, V.FATAL, "SOAP fault: no way"),
    "an older fault of the server": (FAULT_11 % b"Server", 500, V.RETRY, "SOAP fault: no way"),
    "a login that SOAP refuses": (FAULT_11 % b"wsse:FailedAuthentication", 500, V.LOCKED, "SOAP fault: no way"),
    "a login that is refused in words": (
        (FAULT_12 % b"Receiver").replace(b"no way", b"process ended (NMVS_FE_AU_06)"),
        500,
        V.AUTH_FAILED,
        "password is wrong",
    ),
    "an account that another answer tells to be locked": (
        envelope("NMVS_FE_AU_02", response="G616Response"),
        200,
        V.LOCKED,
        "user is locked",
    ),
    "another answer with a code and a certificate": (
        envelope("NMVS_FE_AU_02", response="G616Response", cert=cert(P12)),
        200,
        V.FATAL,
        "instead of G615Response",
    ),
    "a closer word of a fault": (SUBCODE, 500, V.LOCKED, "SOAP fault: no way"),
    "cut off": (envelope("NMVS_SUCCESS", cert=cert(P12))[:700], 200, V.RETRY, "cut off"),
    "cut off behind an element": (envelope("NMVS_SUCCESS").partition(b"</a:Header>")[0], 200, V.RETRY, "cut off"),
    "nothing": (b"", 200, V.RETRY, "an empty answer"),
    "blanks": (b" \r\n", 200, V.RETRY, "an empty answer"),
    "a bomb": (BOMB, 200, V.FATAL, "document type (DTD)"),
    "too deep": (b"<a>" * 100 + b"</a>" * 100, 200, V.FATAL, "nested too deep"),
    "json": (b'{"code": 1}', 200, V.FATAL, "no SOAP message"),
    "binary": (b"\x00\xff" * 50, 200, V.FATAL, "no SOAP message"),
    "other XML": (b"<a/>", 200, V.FATAL, "XML, and no SOAP message"),
    "an envelope of nobody": (EMPTY.replace(b"2003/05", b"2099/05"), 200, V.FATAL, "XML, and no SOAP message"),
    "an empty message": (EMPTY, 200, V.FATAL, "an empty SOAP message"),
    "another answer": (
        envelope("NMVS_SUCCESS", response="G110Response"),
        200,
        V.FATAL,
        "G110Response instead of G615Response",
    ),
    "no code": (envelope(None), 200, V.FATAL, "no result code"),
    "success without a certificate": (envelope("NMVS_SUCCESS"), 200, V.FATAL, "no certificate came with it"),
    "an empty certificate": (envelope("NMVS_SUCCESS", cert=cert(b"")), 200, V.FATAL, "no certificate came with it"),
    "two certificates": (envelope("NMVS_SUCCESS", cert=cert(P12) * 2), 200, V.FATAL, "2 certificates came"),
    "no passphrase": (envelope("NMVS_SUCCESS", cert=cert(P12, None)), 200, V.FATAL, "without its passphrase"),
    "an empty passphrase": (envelope("NMVS_SUCCESS", cert=cert(P12, "")), 200, V.FATAL, "without its passphrase"),
    "no base64": (
        envelope("NMVS_SUCCESS", cert='<a:Cert a:passphrase="x">%%%</a:Cert>'),
        200,
        V.FATAL,
        "not written in base64",
    ),
    "a login at the door": (b"", 401, V.AUTH_FAILED, "refuses the login"),
    "our certificate is refused": (HTML, 403, V.FATAL, "refuses our certificate"),
    "our certificate is refused by a front server": (HTML, 400, V.FATAL, "or our certificate"),
    "our certificate is missing": (HTML, 496, V.FATAL, "refuses our certificate"),
    "nothing there": (HTML, 404, V.FATAL, "no such service"),
    "gone": (b"", 410, V.FATAL, "gone"),
    "elsewhere": (b"", 302, V.FATAL, "sends us elsewhere"),
    "a wrong media type": (b"", 415, V.FATAL, "media type"),
    "too often": (b"", 429, V.RETRY, "too often"),
    "trouble": (HTML, 500, V.RETRY, "technical trouble"),
    "out of operation": (HTML, 503, V.RETRY, "out of operation"),
    "a gateway": (b"", 504, V.RETRY, "does not answer"),
    "a status of nobody": (b"", 499, V.FATAL, "refuses the request"),
    "another status of nobody": (b"", 599, V.RETRY, "technical trouble"),
    "a status beyond all": (b"", 999, V.FATAL, "refuses the request"),
}


def test_an_answer_that_ends_anywhere_too_early_was_cut_off(usual: Contract) -> None:
    whole = envelope("NMVS_FE_PKI_07", desc="grün")
    ends = {refused(usual, whole[:length]).text for length in range(1, len(whole))}
    assert ends == {"the answer was cut off"}


@pytest.mark.parametrize("name", ODD)
def test_what_is_no_answer_ends_in_words_of_its_own(usual: Contract, name: str) -> None:
    body, status, verdict, text = ODD[name]
    found = refused(usual, body, status=status, kind="text/html" if body == HTML else XML)
    assert text in found.text
    assert found.verdict is verdict
    if verdict is V.FATAL:
        assert found.advice, "a person must do something, and is not told what"


def test_a_status_of_an_error_with_a_message_of_the_service_is_read(usual: Contract) -> None:
    assert refused(usual, envelope("NMVS_FE_PKI_07"), status=500).verdict is Verdict.NOT_YET
    assert refused(usual, envelope("NMVS_FE_AU_06"), status=403).verdict is Verdict.AUTH_FAILED


def test_the_media_type_does_not_matter_where_the_message_is_one(usual: Contract) -> None:
    assert taken(usual, envelope("NMVS_SUCCESS", cert=cert(P12)), kind="text/plain")[0] == P12


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ("120", timedelta(minutes=2)),
        ("999999999", timedelta(days=1)),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("9" * 50, None),
    ],
)
def test_a_server_may_say_when_it_is_back_within_bounds(usual: Contract, given: str, after: timedelta | None) -> None:
    with pytest.raises(RefusedError) as error:
        understood(usual, usual.renew.response, Reply(status=503, body=b"", retry_after=given))
    assert error.value.refusal.after == after


@given(body=st.binary(max_size=2000), status=st.integers(100, 599), kind=st.text(max_size=80))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_answer_at_all_does_more_than_be_refused(usual: Contract, body: bytes, status: int, kind: str) -> None:
    refused(usual, body, status=status, kind=kind)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damaged_answer_does_more_than_be_refused_or_read(usual: Contract, data: st.DataObject) -> None:
    whole = bytearray(related(envelope("NMVS_SUCCESS", cert=cert(P12))))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
    for kind in (RELATED, XML):
        assert isinstance(got(usual, bytes(whole), kind=kind), Certificate | Refusal)


def test_a_ping_is_answered_by_its_element_alone(usual: Contract) -> None:
    assert usual.probe is not None
    answered(usual, usual.probe.response, Reply(status=200, body=envelope(None, response="SupportPingResponse")))
    with pytest.raises(RefusedError, match="instead of SupportPingResponse"):
        answered(usual, usual.probe.response, Reply(status=200, body=envelope("NMVS_SUCCESS")))


@given(status=st.integers(100, 999), body=st.binary(), kind=st.text(), after=st.text())
def test_what_is_kept_of_a_reply_is_the_reply(status: int, body: bytes, kind: str, after: str) -> None:
    found = Reply.of(Reply(status=status, body=body, content_type=kind, retry_after=after).kept())
    assert (found.status, found.body) == (status, body)
    assert found.content_type.isprintable()


@given(st.binary(max_size=100))
def test_what_is_no_kept_reply_is_said_to_be_none(octets: bytes) -> None:
    with pytest.raises(NoReplyError):
        Reply.of(octets)
