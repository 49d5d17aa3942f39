"""What one credential set says of itself: the login of a site at its NMVS, as options of the plugin (nmvs.md 8.2)."""

from __future__ import annotations

import secrets
import string
from typing import Final

import attrs

from oftp2d.renewal.nmvs.profile import NAME
from oftp2d.settings import IN_STORE, REQUIRED, UnfitError, flag, matching, secret_reference, text

PASSWORD: Final = "password"  # noqa: S105 - the name of an option
PASSPHRASE: Final = "passphrase"  # noqa: S105 - as above
PROXY_PASSWORD: Final = "proxy_password"  # noqa: S105 - as above

_OF_TRANSACTIONS: Final = string.ascii_letters + string.digits


@attrs.frozen(kw_only=True)
class Account:
    """A login at an NMVS. Login, password and certificate belong together: a set for each location."""

    profile: str = matching(
        NAME,
        REQUIRED,
        "The profile of the NMVS: the file renewal/profiles/NAME.toml below the home folder.",
        values="the name of a profile: letters, digits, dots, hyphens and underscores",
        example="our-country",
    )
    client_login_id: str = text(255, REQUIRED, "ClientLoginId: the first part of the login.", example="PHARMACY-1")
    user_id: str = text(255, REQUIRED, "UserId: the second part of the login.", example="USER0001")
    sub_user_id: str = text(255, "", "SubUserId, where your site has such users.")
    password: str = secret_reference(REQUIRED, "Where the password of the login is.")
    auth_method: str = text(64, "", "authMethod, where the interface document demands one.")
    software_name: str = text(255, "oftp2d", "UserSoftware name: as your software is registered.")
    software_supplier: str = text(255, "oftp2d", "UserSoftware supplier.")
    software_version: str = text(255, "1.0", "UserSoftware version.")
    language: str = matching(
        "[a-z]{3}", "eng", "The language of answers.", values="three small letters of ISO 639-3, such as eng"
    )
    password_rotation: bool = flag(
        False,  # noqa: FBT003 - a default
        'Whether the station changes the password by itself before it ends: true or false. Needs password = "store" and an'
        " address in [password] of the profile. People who log in to the portal with it do not know the new one.",
    )
    passphrase: str = secret_reference(
        "",
        'Where the passphrase of new certificates is, if it was agreed on: passphrase_from = "secret" in the profile.',
    )
    proxy_user: str = text(255, "", "The user at the proxy of the profile, if it wants one.")
    proxy_password: str = secret_reference("", "Where the password of that user is.")

    def __attrs_post_init__(self) -> None:
        if self.password_rotation and self.password != IN_STORE:
            raise UnfitError(
                "password_rotation changes the password, and only one in the store can be changed",
                "write password = \"store\" and give it with 'oftp2d renew secret', or password_rotation = false",
            )
        if bool(self.proxy_user) != bool(self.proxy_password):
            raise UnfitError("proxy_user and proxy_password go together", "write both, or none of them")
        if ":" in self.proxy_user:
            raise UnfitError("proxy_user holds a colon, which no user of a proxy can", "write the name alone")

    def values(self, operation: str) -> dict[str, str | None]:
        """What it has for the placeholders of a layout; the secrets are put in at the call."""
        return {
            "client_login_id": self.client_login_id,
            "user_id": self.user_id,
            "sub_user_id": self.sub_user_id or None,
            "auth_method": self.auth_method or None,
            "software_name": self.software_name,
            "software_supplier": self.software_supplier,
            "software_version": self.software_version,
            "language": self.language,
            "operation": operation,
            "password": None,
            "new_password": None,
            "tan": None,
            "client_trx_id": None,
        }


def new_transaction(length: int) -> str:
    """A ClientTrxId that was never used: letters and digits, by chance (nmvs.md 3: 1 to 32 of letters, digits and hyphens)."""
    return "".join(secrets.choice(_OF_TRANSACTIONS) for _ in range(length))
