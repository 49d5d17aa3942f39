"""What a site gets: a profile ready to use, the CA bundle, and a first credential with its passphrase in a file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from .authority import Authorities
from .habits import Habits, TanMode


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """Where the stand-in listens."""

    renew: str
    tan: str
    probe: str
    control: str


def write_private(path: Path, content: bytes) -> None:
    """Readable by its owner alone, and never half."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)


def bundle(authorities: Authorities) -> bytes:
    """The authority of the servers."""
    return authorities.server_root.certificate.public_bytes(Encoding.PEM)


def profile(addresses: Addresses, habits: Habits, bundle_path: Path) -> bytes:
    """The profile of the stand-in, laid over the public names: it is not verified, which loopback does not need."""
    soap_kind = "application/soap+xml" if habits.soap == "1.2" else "text/xml"
    answer = habits.element.removesuffix("Request") + "Response"
    # Empty: as with a certificate, which is right unless the wrapper is called otherwise there.
    tan_element = "" if habits.element == "G615Request" else "wsdltypes:G615Request"
    return f"""\
# Made by tools/nmvs-standin for itself. It proves how the public facts were read, not that the real contract is so.
verified = false
description = "the stand-in on loopback"

[renew]
url = {_string(addresses.renew)}

[tan]
url = {_string(addresses.tan)}
element = {_string(tan_element)}

[probe]
url = {_string(addresses.probe)}

[password]
url = {_string(addresses.probe)}

[confirm]
url = {_string(addresses.renew)}
element = {_string(f"wsdltypes:{habits.confirm_element}")}
response = {_string(f"wsdltypes:{habits.confirm_element.removesuffix('Request')}Response")}
body = "<types:Body/>"

[soap]
version = {_string(habits.soap)}
content_type = {_string(soap_kind)}

[ns]
version = {_string(habits.version)}

[request]
element = {_string(f"wsdltypes:{habits.element}")}
tan_mode = {_string(habits.tan_mode)}
tan = {_string(habits.fixed_tan if habits.tan_mode is TanMode.FIXED else "")}

[response]
element = {_string(f"wsdltypes:{answer}")}

[tls]
ca_bundle = {_string(str(bundle_path))}

[days]
lead_days = {habits.lead_days}
store_days = {habits.store_days}
valid_days = {habits.valid_days}

[limits]
# It may be tried as often as one likes.
min_interval_minutes = 0
max_attempts_per_day = 96
""".encode()


def _string(text: str) -> str:
    """A basic string of TOML: JSON's escapes are a part of its."""
    return json.dumps(text)
