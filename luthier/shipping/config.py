"""The `ship:` section of a recipe."""

from __future__ import annotations

from luthier.section import Section


class ShipConfig(Section):
    """What leaves the house."""

    exporters: list[str] | None = None
    """Files in `luthier/shipping/exporters/`; each export is reloaded and compared. null: `adapter`
    with LoRA, `merged` for full weights."""
