"""Bounds on what is read, and the reasons of NERP."""

from __future__ import annotations

import pytest

from oftp2.cms.errors import CmsError, DecompressionError, DecryptionError, PackageError, SignatureError
from oftp2.cms.limits import Limits


@pytest.mark.rfc("5.3.14")
@pytest.mark.parametrize(
    ("error", "reason"), [(SignatureError, 31), (DecompressionError, 32), (DecryptionError, 33), (PackageError, 34)]
)
def test_each_error_has_its_reason_of_nerp(error: type[CmsError], reason: int) -> None:
    assert issubclass(error, CmsError)
    assert error.reason == reason


def test_content_may_grow_by_the_ratio_and_small_content_by_any() -> None:
    limits = Limits(octets=1000, ratio=10, floor=100)
    assert not limits.expanded(100, 1)
    assert limits.expanded(101, 10)
    assert not limits.expanded(110, 11)
    assert not limits.expanded(1000, 500)
    assert limits.expanded(1001, 500)


@pytest.mark.parametrize("name", ["octets", "ratio", "floor", "signers", "recipients", "unwrappings", "held", "depth"])
def test_a_limit_is_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
