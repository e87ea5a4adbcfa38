"""Templates of `page/` made into one HTML page that needs no other file."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from luthier.console import duration, size
from luthier.reporting import wording


def render(template: str, **variables: Any) -> str:
    """Fill in a template; everything that is not Markup is escaped.

    Args:
        template: a file of `page/`.
        variables: what it shows, besides the style sheet.

    Returns:
        The page, without what HTML cannot hold and without what looks like a secret.
    """
    page = (
        _environment()
        .get_template(template)
        .render(style=Markup(page_file("style.css")), **variables)
    )
    return wording.without_secrets(wording.printable(page))


@cache
def _environment() -> Environment:
    """Compiles each template once: a run writes its report after every stage."""
    environment = Environment(
        loader=PackageLoader("luthier.reporting", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=wording.count,
        number=wording.number,
        compact=wording.compact,
        estimate=wording.estimate_text,
        interval=wording.interval,
        signed=wording.signed,
        signed_interval=wording.signed_interval,
        p_value=wording.p_text,
        metric=wording.metric_name,
        system=wording.system_name,
        sentence=wording.sentence_case,
        shortened=wording.shortened,
        share=wording.share,
        size=size,
        duration=duration,
    )
    return environment


def page_file(name: str) -> str:
    """Text of a file of `page/`."""
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")
