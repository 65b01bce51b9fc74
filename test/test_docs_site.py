# SPDX-License-Identifier: Apache-2.0
"""The docs as a site: every page is in it, and links lead somewhere."""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
import re
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
HOME = 'https://example.org/repository'
needs_mkdocs = pytest.mark.skipif(find_spec('mkdocs') is None, reason='mkdocs is not installed')


@pytest.fixture(scope='module')
def hooks() -> ModuleType:
    """Return tools/docs_site.py as a module."""
    spec = spec_from_file_location('docs_site', ROOT / 'tools/docs_site.py')
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ('link', 'folder', 'leads_to'),
    [
        ('docs/nodes.md#security', '', 'nodes.md#security'),
        ('docs/demo.gif', '', 'demo.gif'),
        ('SECURITY.md', '', 'security.md'),
        ('#install', '', '#install'),
        ('https://arxiv.org/abs/2606.20104', '', 'https://arxiv.org/abs/2606.20104'),
        ('nodes.md', 'docs', 'nodes.md'),
        ('../README.md#install', 'docs', 'index.md#install'),
        ('../config/robot.yaml', 'docs', f'{HOME}/blob/HEAD/config/robot.yaml'),
        ('bags/README.md', '', f'{HOME}/blob/HEAD/bags/README.md'),
    ],
)
def test_a_link_leads_to_a_page_of_the_site_or_to_the_repository(
    hooks: ModuleType, link: str, folder: str, leads_to: str
) -> None:
    assert hooks.site_text(f'[see]({link})', folder, HOME) == f'[see]({leads_to})'


def pages(nav: list[dict[str, object]]) -> list[str]:
    """Return the pages of a navigation, in its order."""
    found: list[str] = []
    for item in nav:
        for entry in item.values():
            found += pages(entry) if isinstance(entry, list) else [str(entry)]
    return found


def test_every_page_is_in_the_navigation_once(hooks: ModuleType) -> None:
    listed = pages(yaml.safe_load((ROOT / 'mkdocs.yml').read_text(encoding='utf-8'))['nav'])
    docs = [path.name for path in (ROOT / 'docs').glob('*.md')]
    assert sorted(listed) == sorted([*docs, *hooks.OUTSIDE.values()])


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words = ['-m', 'mkdocs', 'build', '--strict', '--site-dir', str(site)]
    return subprocess.run([sys.executable, *words], cwd=root, capture_output=True, text=True)


@needs_mkdocs
def test_the_site_is_built_without_a_broken_link(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / 'site')
    assert done.returncode == 0, done.stderr
    start = (tmp_path / 'site/index.html').read_text(encoding='utf-8')
    assert re.search(r'<a href="nodes/"', start)
    assert (tmp_path / 'site/demo.gif').is_file()


@needs_mkdocs
def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    for name in ('mkdocs.yml', 'README.md', 'CONTRIBUTING.md', 'QUALITY_DECLARATION.md'):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copy(ROOT / 'SECURITY.md', tmp_path)
    for folder in ('docs', 'tools'):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    with (tmp_path / 'docs/concepts.md').open('a', encoding='utf-8') as page:
        page.write('\n[a](nowhere.md), [b](nodes.md#nowhere)\n')
    done = build(tmp_path, tmp_path / 'site')
    assert done.returncode != 0
    assert "'nowhere.md'" in done.stderr
    assert "'nodes.md#nowhere'" in done.stderr
