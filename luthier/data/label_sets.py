"""What a closed set of answers, that of a task or of a source, says of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.errors import nearest


def outside(found: str, labels: Sequence[str]) -> str | None:
    """Why an answer is none of a label set; None where it is one.

    Args:
        found: the answer.
        labels: all of them.
    """
    if found in labels:
        return None
    folded = {known.strip().casefold(): known for known in labels}
    same = folded.get(found.strip().casefold())
    hint = f" Did you mean '{same}'?" if same else nearest(found, labels)
    return f"label outside the set: '{found}' is none of {', '.join(labels)}.{hint}"
