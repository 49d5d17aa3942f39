"""What cannot be imported."""

from __future__ import annotations

import a_package_that_nobody_has  # type: ignore[import-not-found]

Spoilt = a_package_that_nobody_has.Spoilt
