"""The `ship:` section of a recipe."""

from __future__ import annotations

from pydantic import Field

from luthier.section import Section


class ShipConfig(Section):
    """What leaves the house."""

    exporters: list[str] = Field(default=["adapter"])
    """Files in `luthier/shipping/exporters/`; each export is reloaded and compared."""
