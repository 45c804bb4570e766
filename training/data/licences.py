"""Which licences hold people to research or non-commercial use."""

from __future__ import annotations

import re
from collections.abc import Iterable

from training.data.schema import Source
from training.errors import LicenceNotAccepted

_RESTRICTED = re.compile(
    r"\bnc\b|non[- ]?commercial|\bresearch\b|\bacademic\b|\b(?:un|not |none )stated\b|\bno licen[cs]e\b|\bproprietary\b"
)


def is_restricted(license: str) -> bool:
    """Whether a licence's own words bar commercial use, or say that none was stated; nothing said is not a bar."""
    return _RESTRICTED.search(license.casefold().replace("_", "-")) is not None


def require_accepted(sources: Iterable[Source], *, accepted: bool, how: str) -> None:
    """Raises LicenceNotAccepted with the restricted sources, and with `how` to accept them, unless that was done."""
    restricted = sorted({f"{row.name} ({row.license})" for row in sources if is_restricted(row.license)})
    if restricted and not accepted:
        raise LicenceNotAccepted(sources=", ".join(restricted), how=how)
