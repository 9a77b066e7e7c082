"""What the site needs beyond its plugins: notebooks as pages, the reference from the code, the README as its home."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter

OF_THE_SITE = re.compile(r"\[[\w-]+\.md\](?=\(([\w-]+\.md)(#[\w-]+)?\))")
"""Links that say the name of a file, as one reads them in the repository: here they say the page's title."""
OF_THE_REPOSITORY = re.compile(
    r"\[([^\]]+)\]\(\.\./(?:src|tests|components|pipelines|manifests|configs|benchmarks|images)/[^)]*\)"
)
"""Links to code, which is not part of the site."""


class Notebook(File):
    """A notebook, which is a page like any other."""

    def is_documentation_page(self) -> bool:
        return True


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Each notebook is a page."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(file)
        files.append(Notebook(file.src_uri, config.docs_dir, config.site_dir, config.use_directory_urls))
    return files


def on_page_read_source(page: Page, config: MkDocsConfig) -> str | None:
    """The text of a notebook, its code, and the outputs that were kept when it was last executed."""
    if not isinstance(page.file, Notebook):
        return None
    text, _ = MarkdownExporter(exclude_input_prompt=True).from_filename(str(page.file.abs_src_path))
    return str(text)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The README is included in the home page; two pages of the reference are made here."""
    for mark, made in {"<!-- commands -->": _commands, "<!-- settings -->": _settings}.items():
        if mark in markdown:
            markdown = markdown.replace(mark, made())
    markdown = OF_THE_SITE.sub(lambda link: f"[{_title(link[1], config)}]", markdown)
    markdown = OF_THE_REPOSITORY.sub(r"\1", markdown)
    return markdown.replace("](../README.md", "](index.md")


def _title(name: str, config: MkDocsConfig) -> str:
    """What a page is called: in the repository links show the name of its file."""
    return Path(config.docs_dir, name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _commands() -> str:
    from selfemo.cli import main

    return "\n".join(_reference().commands(main, "selfemo"))


def _settings() -> str:
    from selfemo.config import Config

    return "\n".join(_reference().settings(Config.model_json_schema()))


def _reference():  # type: ignore[no-untyped-def]  # a module beside this one: hooks are in no package
    spec = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
