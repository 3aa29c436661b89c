"""The pages of the documentation: their blocks, headings and prose, and how printed lines are written into them."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHELL, CONSOLE = {"sh", "bash", "shell"}, {"console"}
# Pages beside docs/ that the site has too.
TOGETHER = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]


def all_pages():
    below = [str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / "docs").rglob("*.md"))]
    return [page for page in TOGETHER if (REPOSITORY / page).exists()] + below


class Block:
    """One fenced block: its language, its lines, where they are in the page, and the comments in front of it."""

    def __init__(self, language, first_line, lines, notes, indent=""):
        self.language, self.first_line, self.lines, self.notes, self.indent = language, first_line, lines, notes, indent

    def commands(self):
        """The commands of a console block, each with the lines that it prints."""
        found = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append([line[2:], []])
            elif line.startswith("> ") and found and not found[-1][1]:
                found[-1][0] += "\n" + line[2:]
            elif found:
                found[-1][1].append(line)
            else:
                raise ValueError("a console block begins with `$ `")
        return found


NOTE = re.compile(r"^(not run|exits with|any order|until|background|file|setup|service|needs)(?::\s*|$)(.*)$", re.S)


def read_page(text):
    """The blocks of a page and its setup comments, in order."""
    lines, blocks, notes, at = text.split("\n"), [], {}, 0
    while at < len(lines):
        line = lines[at]
        fence = re.match(r"^(\s*)(`{3,})\s*([A-Za-z0-9_-]*)", line)
        if line.lstrip().startswith("<!--"):
            comment = line.strip()
            while "-->" not in comment and at + 1 < len(lines):
                at += 1
                comment += "\n" + lines[at]
            note = NOTE.match(comment.strip()[4:].split("-->")[0].strip())
            if note and note[1] in ("setup", "service", "needs"):
                blocks.append(Block(note[1], at + 1, note[2].split("\n"), {}))
            elif note:
                notes[note[1]] = note[2].strip()
        elif fence:
            end = next((n for n in range(at + 1, len(lines)) if lines[n].strip() == fence[2]), None)
            if end is None:
                raise ValueError(f"line {at + 1}: a block without its end")
            body = [row[len(fence[1]):] if row.startswith(fence[1]) else row for row in lines[at + 1:end]]
            blocks.append(Block(fence[3], at + 2, body, notes, fence[1]))
            notes, at = {}, end
        elif line.strip():
            notes = {}
        at += 1
    return blocks


def is_work(block):
    return block.language in SHELL | CONSOLE


def prose(text):
    """The lines of a page, those of blocks and comments empty, code in a line removed."""
    fence, in_comment = None, False
    for line in text.split("\n"):
        mark = re.match(r"^\s*(`{3,})", line)
        if mark and (fence is None or line.strip() == fence):
            fence = mark[1] if fence is None else None
            yield ""
        elif fence or in_comment or line.lstrip().startswith("<!--"):
            in_comment = not fence and "-->" not in line
            yield ""
        else:
            yield re.sub(r"`[^`]*`", "``", line)


def anchors(text):
    """The anchors of the headings of a page, as GitHub and mdBook make them."""
    found, seen = set(), {}
    fence = None
    for line in text.split("\n"):
        mark = re.match(r"^\s*(`{3,})", line)
        if mark:
            fence = None if fence else mark[1]
        heading = None if fence else re.match(r"^#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", words))
            count = seen.get(slug, 0)
            seen[slug] = count + 1
            found.add(f"{slug}-{count}" if count else slug)
    return found


HEADINGS = re.compile(r"\s*[A-Z]{2,}(\s{2,}[A-Z][A-Z ]*)+$")


def narrowed(rows):
    """The rows with their tables as narrow as they are where paths are shorter than in the sandbox."""
    at, result = 0, []
    while at < len(rows):
        end = at + 1
        if HEADINGS.match(rows[at]):
            starts = [found.start() for found in re.finditer(r"(?<=  )\S|^\S", rows[at])]
            while end < len(rows) and rows[end].strip() and all(rows[end][start - 1:start] in ("", " ") for start in starts if start):
                end += 1
        result += without_wide_gaps(rows[at:end]) if end - at > 1 else [rows[at]]
        at = end
    return result


def without_wide_gaps(table):
    """Lines without the columns of spaces that all of them have, but for two."""
    width = max(map(len, table))
    padded = [row.ljust(width) for row in table]
    is_gap = [all(row[n] == " " for row in padded) for n in range(width)]
    first = is_gap.index(False)
    kept = [n for n in range(width) if n < first or not (is_gap[n] and n >= 2 and is_gap[n - 1] and is_gap[n - 2])]
    return ["".join(row[n] for n in kept).rstrip() for row in padded]


def write_back(path, text, replaced):
    lines = text.split("\n")
    for block, rows in sorted(replaced, key=lambda one: -one[0].first_line):
        rows = narrowed(rows)
        first = block.first_line - 1
        lines[first:first + len(block.lines)] = [(block.indent + row).rstrip() for row in rows]
    path.write_text("\n".join(lines))
