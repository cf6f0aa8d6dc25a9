"""MkDocs hooks: the reference is generated from the registries at build time and never committed."""

from __future__ import annotations

import re

from _reference import TITLES, pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages at the end of the navigation."""
    reference = [{title: path} for path, title in TITLES.items()]
    assert config.nav is not None
    config.nav = [*config.nav, {"Reference": reference}]
    return config


def on_page_markdown(markdown: str, **_: object) -> str:
    """Links to a card, which in the repository lies in `zoo/`, lead to its page."""
    return re.sub(r"\]\(\.\./zoo/([a-z0-9_]+)/README\.md", r"](zoo/\1.md", markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files
