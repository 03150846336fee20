"""Fill the Jinja2 templates of reports/templates/: HTML pages, each one file, and MODEL_CARD.md.

Every value is escaped, except figures (Markup). A page holds its style and its pictures. It loads
nothing and runs nothing: its Content-Security-Policy in base.html forbids both.
"""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from data.output_place import write_whole
from errors import DataError
from reports.text_direction import direction

_TEMPLATES = Path(__file__).parent / "templates"


def escape_markdown(text: str) -> str:
    """Escape text from files or names, so that Markdown shows it without formatting, HTML or table
    borders."""
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#&" else char for char in text)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(disabled_extensions=("md",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = escape_markdown
    environment.filters["direction"] = direction
    return environment


def write_text(path: Path, template: str, **values: object) -> None:
    """Fill a template and write the complete file as UTF-8, or none. Raises OSError."""
    text = _environment().get_template(template).render(values)
    # surrogateescape: a file name that is no valid text in this locale is written as its bytes
    write_whole(path, text, errors="surrogateescape")


def write_page(path: Path, template: str, **values: object) -> None:
    """Fill an HTML template and write it. Raises DataError when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, template, **values)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from None
