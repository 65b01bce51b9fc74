# SPDX-License-Identifier: Apache-2.0
"""
Hooks of mkdocs: add the pages outside of docs/ to the site, and make their links lead there.

Pages link to files of the repository, so that they can be read there, too. In the site a link to
another page leads to that page, and one to any other file leads to the repository.
"""

from __future__ import annotations

from pathlib import Path
import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# Page of the site, by its file in the repository; docs/NAME is NAME.
OUTSIDE = {
    'README.md': 'index.md',
    'CONTRIBUTING.md': 'contributing.md',
    'QUALITY_DECLARATION.md': 'quality_declaration.md',
    'SECURITY.md': 'security.md',
}
LINK = re.compile(r'(?<=\]\()([^)\s]+)(?=\))')


def site_link(link: str, folder: str, repository: str) -> str:
    """Return where a link of a page in this folder of the repository leads in the site."""
    path, mark, anchor = link.partition('#')
    if not path or ':' in path:
        return link
    place = posixpath.normpath(posixpath.join(folder, path))
    if place.startswith('docs/'):
        return place.removeprefix('docs/') + mark + anchor
    if place in OUTSIDE:
        return OUTSIDE[place] + mark + anchor
    return f'{repository}/blob/HEAD/{place}{mark}{anchor}'


def site_text(text: str, folder: str, repository: str) -> str:
    """Return the text of a page with links of the site."""
    return LINK.sub(lambda link: site_link(link[1], folder, repository), text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages outside of docs/."""
    from mkdocs.structure.files import File

    for name, page in OUTSIDE.items():
        text = site_text((ROOT / name).read_text(encoding='utf-8'), '', config.repo_url or '')
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the text of a page of docs/ with links of the site."""
    if page.file.src_uri in OUTSIDE.values():
        return markdown
    return site_text(markdown, 'docs', config.repo_url or '')
