"""Which host is checked, and what it should be."""

from __future__ import annotations

from dataclasses import dataclass

from evergold.config.models import Pool
from evergold.images.manifest import Manifest


@dataclass(frozen=True)
class Subject:
    """A session host to check.

    Attributes:
        host: name of its VM, and of its session host.
        version_id: resource id of the image version that it should be made from; "" where any will do.
        closed: whether it should be in drain mode; None where either will do.
        manifest: what should be on it; None where that is not known.

    """

    pool: Pool
    host: str
    version_id: str = ""
    closed: bool | None = None
    manifest: Manifest | None = None
