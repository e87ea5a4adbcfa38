"""Settings that TRL's trainer cannot be told."""

from __future__ import annotations

from luthier import sft
from luthier.artifacts import Finding
from luthier.planning.facts import Facts


def check(facts: Facts) -> Finding | None:
    """Find what `engine: trl` would leave out or do otherwise.

    What: settings without a counterpart in `SFTConfig`, e.g. label smoothing over classes.
    Why: training would go another way than the recipe says, mostly without a word.
    Fix: another setting, or `engine: luthier`.
    """
    if facts.train.engine != "trl":
        return None
    devices = facts.hardware.devices if facts.hardware.device == "cuda" else 1
    gaps = sft.gaps(
        facts.train, precision=facts.precision, device=facts.hardware.device, devices=devices
    )
    if not gaps:
        return None
    return Finding(
        check="trl_gaps",
        severity="error",
        what=f"engine: trl with {', '.join(gap.key for gap in gaps)}.",
        why=" ".join(gap.why for gap in gaps),
        fix=" ".join(gap.fix for gap in gaps) + " Or set train.engine: luthier.",
    )
