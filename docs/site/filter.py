"""What Doxygen reads in the place of a file: pages as they read well in the repository, turned into Doxygen's dialect.

    filter.py FILE

Headings get the anchors that repository hosts give them, links between pages become references, pictures are embedded
as they are, and links to files that the site does not have become text. Of a header, its opening comment becomes its
description, and what is private is left out.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def slug(heading):
    """The anchor that repository hosts give to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def page_of(path):
    return "index" if path.name == "README.md" else path.stem


def link(page, label, target):
    """A Markdown link of the file `page` in Doxygen's dialect."""
    if re.match(r"[a-z]+:", target):
        return f"[{label}]({target})"
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    if file.suffix == ".md" and file.is_file():
        name = page_of(file)
        return f"[{label}](@ref {name}-{anchor})" if anchor else f"[{label}](@ref {name})"
    if file.suffix == ".cpp" and file.parent == ROOT / "examples":
        return f'<a href="{file.stem}_8cpp-example.html">{label}</a>'
    if file.parent == ROOT / "docs" / "pictures":
        return f'<a href="pictures/{file.name}">{label}</a>'
    return label if label.startswith("`") else f"`{label}`" if "/" in label else label


def markdown(page, text):
    out, fenced, first = [], False, True
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        heading = re.match(r"(#+) (.*)", line)
        if fenced or line.startswith("    "):
            out.append(line)
            continue
        line = re.sub(r"!\[([^\]]*)\]\((?:docs/)?(pictures/[^)]*)\)",
                      r'<span class="figure"><img src="\2" alt="\1"/></span>', line)
        line = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", lambda m: link(page, m[1], m[2]), line)
        if heading and first:
            first = False
            line = f"# {heading[2]}" if page_of(page) == "index" else f"# {heading[2]} {{#{page_of(page)}}}"
            if page.parent.name == "docs":
                line += "\n\n[TOC]"
        elif heading:
            line += f" {{#{page_of(page)}-{slug(heading[2])}}}"
        out.append(line)
    return "\n".join(out) + "\n"


def examples():
    """A page for each example, under the first sentence of its opening comment."""
    for path in sorted((ROOT / "examples").glob("*.cpp")):
        comment = re.match(r"(?:// .*\n)*", path.read_text(encoding="utf-8"))[0].replace("// ", "").replace("\n", " ")
        yield f"/// \\example {path.name}\n/// {comment.split('. ')[0].strip() or 'The example of the README'}\n"


def header(path, text):
    lines = text.splitlines()
    if lines and lines[0].startswith("// "):
        lines[0] = "/// \\file\n/" + lines[0]
        for k in range(1, len(lines)):
            if not lines[k].startswith("//"):
                break
            lines[k] = "/" + lines[k]
    hidden = False
    for k, line in enumerate(lines):  # what is private is left out
        if line == " private:":
            hidden = True
            lines[k] += "\n/// \\cond"
        elif hidden and line in (" public:", "};"):
            hidden = False
            lines[k] = "/// \\endcond\n" + line
    if path.name == "dca.hpp":
        lines += [*examples()]
    return "\n".join(lines) + "\n"


def main():
    path = pathlib.Path(sys.argv[1]).resolve()
    text = path.read_text(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(markdown(path, text) if path.suffix == ".md" else header(path, text))


if __name__ == "__main__":
    main()
