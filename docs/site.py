"""Makes the pages of the site from those of the repository (a hook of mkdocs.yml).

The README is the front page, and every builder's README is a page. Links are written as the
repository has them; here they are made links of the site. A link to a file that is no page becomes
its text: the site does not know where the repository is published.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
NAMED = {
    "README.md": "index.md",
    "docs/index.md": "pages.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changes.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)")


def sources() -> dict[str, str]:
    """Path in the repository -> name on the site, of everything that is shown."""
    names = dict(NAMED)
    for path in sorted((ROOT / "docs").rglob("*")):
        if path.suffix in (".md", ".svg", ".jpg", ".png"):
            inside = path.relative_to(ROOT).as_posix()
            names.setdefault(inside, inside.removeprefix("docs/"))
    for path in sorted((ROOT / "data_builders").glob("*/README.md")):
        names[path.relative_to(ROOT).as_posix()] = f"builders/{path.parent.name}.md"
    return names


def rewritten(text: str, path: str, names: dict[str, str]) -> str:
    """A page's text with the links of the site."""
    here, start = posixpath.dirname(path), posixpath.dirname(names[path])

    def link(match: re.Match) -> str:
        picture, words, target, part = match[1], match[2], match[3], match[4] or ""
        words = LINK.sub(link, words)
        if re.match(r"[a-z]+:", target):
            return f"{picture}[{words}]({target}{part})"
        name = names.get(posixpath.normpath(posixpath.join(here, target)))
        if name is None:
            return words
        return f"{picture}[{words}]({posixpath.relpath(name, start or '.')}{part})"

    # Python-Markdown begins a list after an empty line only.
    text = re.sub(r"(?m)^(?!\s*(?:[-*]|\d+\.) )(\S.*)\n(?=(?:[-*]|\d+\.) )", r"\1\n\n", text)
    return LINK.sub(link, text)


def on_files(files: Files, config) -> Files:
    """Puts the rewritten pages in the place of the files that MkDocs has found."""
    names = sources()
    for file in list(files):
        if file.src_uri.endswith(".md"):
            files.remove(file)
    for path, name in names.items():
        if name.endswith(".md"):
            text = rewritten((ROOT / path).read_text(encoding="utf-8"), path, names)
            files.append(File.generated(config, name, content=text))
    return files
