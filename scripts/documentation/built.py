"""The site: `built.py stage DIR` makes the copy of docs/ in DIR what mdbook needs, `built.py check DIR` follows the links of the site."""

import re, sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from pages import REPOSITORY, TOGETHER


class Html(HTMLParser):
    """The links and the anchors of a page of the site."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if value and ((tag in ("a", "link") and name == "href") or (tag in ("img", "script") and name == "src")):
                self.links.append(value)


def check_site(site):
    """The links of the built site that lead nowhere."""
    pages = {path: Html(path.read_text()) for path in site.rglob("*.html")}
    for path, html in sorted(pages.items()):
        # One page that holds all others, and one for addresses that do not exist: their links are those of other places.
        if path.name in ("print.html", "404.html", "toc.html"):
            continue
        for link in html.links:
            target, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:|//", target):
                continue
            there = (path.parent / target).resolve() if target else path
            if not there.exists():
                yield f"{path.relative_to(site)}: {link}: no such file in the site"
            elif anchor and there in pages and anchor not in pages[there].anchors:
                yield f"{path.relative_to(site)}: {link}: no such heading in the site"


def stage(copy):
    """Completes a copy of docs/: pages beside docs/, pages that only some builds have, every decision, and links as mdbook follows them."""
    for page in TOGETHER[1:]:
        # At the top, a page links to its neighbours by their names alone.
        (copy / page).write_text((REPOSITORY / page).read_text().replace("](docs/", "]("))
    summary = (copy / "SUMMARY.md").read_text()
    optional = r"(?m)^(\s*)<!-- if it exists: (.*?\]\(([^)]+)\)) -->\n"
    summary = re.sub(optional, lambda found: f"{found[1]}{found[2]}\n" if (copy / found[3]).exists() else "", summary)
    decisions = [(path.read_text().split("\n")[0].lstrip("# "), path.name) for path in sorted((copy / "decisions").glob("0*.md"))]
    listed = "\n".join(f"  - [{title}](decisions/{name})" for title, name in decisions)
    (copy / "SUMMARY.md").write_text(summary.replace("<!-- decisions -->", listed))
    with (copy / "decisions/README.md").open("a") as index:
        index.write("\n" + "\n".join(f"- [{title}]({name})" for title, name in decisions) + "\n")
    for path in copy.rglob("*.md"):
        if path.name != "SUMMARY.md":
            path.write_text(with_links_of_the_site(path.read_text(), "../" * (len(path.relative_to(copy).parts) - 1)))


def with_links_of_the_site(text, up):
    """A page whose links to the pages beside docs/ lead to their copies, and those to README.md to what mdbook makes of it."""
    names = "|".join(re.escape(name) for name in TOGETHER[1:])
    text = re.sub(rf"\]\((?:\.\./)+({names})", rf"]({up}\1", text)
    return re.sub(r"(\]\((?!https:)[^)\s]*)README\.md", r"\1index.md", text)


def main():
    what, directory = sys.argv[1], Path(sys.argv[2]).resolve()
    if what == "stage":
        stage(directory)
        return 0
    broken = list(check_site(directory))
    print("\n".join(broken) or "Every link of the site leads somewhere.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
