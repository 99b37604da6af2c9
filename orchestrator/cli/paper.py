"""What ladders are drawn on: how wide, in which colours, with which characters."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.report.run_timeline import Paper

Function = TypeVar("Function", bound="Callable[..., Any]")


def ascii_option(function: Function) -> Function:
    """`--ascii`."""
    return click.option(
        "--ascii", "ascii_only", is_flag=True, help="Draw with ASCII alone, not with lines and arrows"
    )(function)


def paper_for(stream: TextIO, *, ascii_only: bool = False) -> Paper:
    """As wide as the terminal; COLUMNS counts in a pipe, too, where it is set."""
    from orchestrator.report.arrows import glyphs_for
    from orchestrator.report.layout import Style, style_for
    from orchestrator.report.run_timeline import Paper

    columns = shutil.get_terminal_size().columns
    style = style_for(stream.isatty(), columns, os.environ)
    if style.width is None and os.environ.get("COLUMNS", "").isdecimal():
        style = Style(columns)
    return Paper(style, glyphs_for(stream.encoding, ascii_only=ascii_only))
