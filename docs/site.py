"""What mkdocs.yml needs beyond mkdocs: pages from outside docs/, and what settings' help says."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md", "results/README.md")
# of Markdown, and of HTML inside it
LINK = re.compile(r'(?P<open>\]\(|(?:src|srcset|href)=")(?P<to>[^)"#:\s]+)(?P<rest>[^)"]*)')
WHOLE = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<to>[^)#:\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Take in the pages beside docs/, and the files outside it that pages link to."""
    pages = [*PAGES, *(f"docs/{file.src_uri}" for file in files.documentation_pages())]
    linked = {target for page in pages for target in _targets(page)}
    outside = {path for path in linked if not path.startswith("docs/") and (ROOT / path).is_file()}
    for path in sorted(outside | set(PAGES)):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links between the repository's files, as those of the site."""
    path = Path(str(page.file.abs_src_path)).relative_to(ROOT).as_posix()

    def moved(link: re.Match[str]) -> str:
        target = _target(path, link["to"])
        if not (ROOT / target).is_file():  # code that looks like a link
            return link[0]
        start = os.path.dirname(page.file.src_uri)  # noqa: PTH120
        to = os.path.relpath(target.removeprefix("docs/"), start or ".")
        return f"{link['open']}{to}{link['rest']}"

    def unlinked(link: re.Match[str]) -> str:
        """A site does not list folders."""
        return link["text"] if (ROOT / _target(path, link["to"])).is_dir() else link[0]

    return LINK.sub(moved, WHOLE.sub(unlinked, markdown))


def _targets(page: str) -> set[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return {_target(page, link["to"]) for link in LINK.finditer(text)}


def _target(page: str, link: str) -> str:
    """A link's target, from the root."""
    return os.path.normpath(os.path.join(os.path.dirname(page), link))  # noqa: PTH118, PTH120


class Help(griffe.Extension):
    """Takes the help of a dataclass's field for its docstring."""

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any
    ) -> None:
        """Find `field(default=value, metadata={"help": text})`."""
        match node:
            case ast.AnnAssign(value=ast.Call(func=ast.Name("field"), keywords=keywords)):
                given = {one.arg: one.value for one in keywords}
            case _:
                return
        match given.get("metadata"):
            case ast.Dict(keys=[ast.Constant("help")], values=[text]):
                attr.docstring = griffe.Docstring(ast.literal_eval(text), parent=attr)
        attr.value = ast.unparse(given["default"]) if "default" in given else None
