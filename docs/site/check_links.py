"""Finds broken links: those within a site, and those of the repository's Markdown to its own files and headings.

    check_links.py [SITE]

SITE is a folder of HTML files; without it only the Markdown is looked at. Prints what is broken and fails if anything
is. Links to other hosts are not followed.
"""

import pathlib
import re
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser

ROOT = pathlib.Path(__file__).resolve().parents[2]
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


class Page(HTMLParser):
    """The links and the anchors of an HTML file."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src", "data") and value is not None:
                self.links.append(value)
            if name == "id" or (name == "name" and tag == "a"):
                self.anchors.add(value)


def broken_in_site(site):
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in sorted(pages.items()):
        for link in page.links:
            if ELSEWHERE.match(link):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / urllib.parse.unquote(target.split("?")[0])).resolve() if target else path
            if not file.is_file():
                yield f"{path.relative_to(site)}: {link}: no such file"
            elif anchor and file in pages and urllib.parse.unquote(anchor) not in pages[file].anchors:
                yield f"{path.relative_to(site)}: {link}: no such anchor"


def without_code(text):
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$|`[^`\n]*`", "", text, flags=re.MULTILINE)


def headings(path):
    """The anchors that repository hosts give to the headings of a Markdown file."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def broken_in_markdown(files):
    for path in files:
        for link in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text(encoding="utf-8"))):
            if ELSEWHERE.match(link):
                continue
            target, _, anchor = link.partition("#")
            file = (path.parent / urllib.parse.unquote(target)).resolve() if target else path
            if not file.exists():
                yield f"{path.relative_to(ROOT)}: {link}: no such file"
            elif anchor and file.suffix == ".md" and anchor not in headings(file):
                yield f"{path.relative_to(ROOT)}: {link}: no such heading"


def markdown_files():
    """Those under version control; where there is none, those outside of build folders."""
    try:
        listed = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
                                check=True, capture_output=True, text=True).stdout.split("\n")
        return [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        return [path for path in ROOT.rglob("*.md") if "build" not in path.relative_to(ROOT).parts]


def main():
    files = markdown_files()
    broken = list(broken_in_markdown(files))
    if len(sys.argv) > 1:
        broken += broken_in_site(pathlib.Path(sys.argv[1]).resolve())
    for line in broken:
        print(line)
    if broken:
        sys.exit(f"{len(broken)} broken links")
    print(f"no broken link in {len(files)} Markdown files" + (" and the site" if len(sys.argv) > 1 else ""))


if __name__ == "__main__":
    main()
