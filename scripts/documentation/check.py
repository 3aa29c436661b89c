"""check-docs [--aftercast FILE] [--update] [--keep] [PAGE…]: runs the commands of the documentation and checks its links.

A block of a page is run in a sandbox directory of that page, in the order of the page, and what it prints is compared with what
the page shows. A comment before a block says what else to do with it:

    ```console              `$ ` begins a command, `> ` continues it; the other lines are what it prints
    ```sh                   commands that must succeed; their output is not compared
    <!-- not run: REASON --> the block is not run; the reason is printed and counted
    <!-- exits with: N -->   the exit status of its last command (0 unless said)
    <!-- any order -->       its lines may come in another order
    <!-- until -->           the command is repeated until it prints this, for at most a minute
    <!-- background -->      the command goes on until the page ends; the lines must appear within a minute
    <!-- file: PATH -->      the block is written to PATH
    <!-- setup: … -->        shell commands that a reader does not see
    <!-- service: … -->      a command that a reader does not see and that goes on until the page ends
    <!-- needs: PROGRAM … --> the page is skipped, and counted, if one of these programs is missing

A line of `…` stands for any lines, `…` within a line for any text. Times, durations, sizes, ids, digests and addresses of the
machine may differ. Paths such as /srv/… are below the sandbox. --update writes what the commands printed into the pages, where it differs.
"""

import argparse, re, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from comparing import any_order, difference, same
from pages import CONSOLE, REPOSITORY, SHELL, TOGETHER, all_pages, anchors, is_work, prose, read_page, write_back
from sandbox import PATIENCE_S, Sandbox, has_program

# Pages that are run beside each other; most of their time they wait.
AT_ONCE = 3


class Checker:
    def __init__(self, options):
        self.options = options
        self.failures, self.not_run, self.counts = [], [], {"commands": 0, "blocks": 0, "links": 0, "pages": 0}

    def add(self, other):
        self.failures += other.failures
        self.not_run += other.not_run
        self.counts = {name: count + other.counts[name] for name, count in self.counts.items()}

    def fail(self, page, line, message):
        self.failures.append(f"{page}:{line}: {message}")

    def commands_of(self, page):
        """Runs the blocks of a page in a sandbox of its own."""
        path = REPOSITORY / page
        text = path.read_text()
        try:
            blocks = read_page(text)
        except ValueError as error:
            return self.fail(page, 1, error)
        if not any(is_work(block) for block in blocks):
            return None
        missing = [program for block in blocks if block.language == "needs"
                   for program in " ".join(block.lines).split() if not has_program(program)]
        sandbox, replaced = Sandbox(self.options.aftercast), []
        try:
            for block in blocks:
                if missing and is_work(block) and "not run" not in block.notes:
                    self.not_run.append(f"{page}:{block.first_line}: {' '.join(missing)} is not installed")
                elif not self.one(page, block, sandbox, replaced):
                    break
        except ValueError as error:
            self.fail(page, 1, error)
        finally:
            sandbox.close(self.options.keep)
        if self.options.update and replaced:
            write_back(path, text, replaced)
        return None

    def one(self, page, block, sandbox, replaced):
        """Does what one block asks for; False if the rest of the page makes no sense without it."""
        if "not run" in block.notes:
            reason = block.notes["not run"] or self.fail(page, block.first_line, "`not run` without a reason")
            self.not_run.append(f"{page}:{block.first_line}: {reason}")
        elif "file" in block.notes:
            target = Path(sandbox.inward(block.notes["file"]))
            target = target if target.is_absolute() else sandbox.work / target
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(sandbox.inward("\n".join(block.lines) + "\n"))
        elif block.language == "service":
            sandbox.start("\n".join(block.lines), [], is_service=True)
        elif block.language == "setup" or block.language in SHELL:
            self.counts["blocks"] += block.language in SHELL
            status, printed = sandbox.run("set -e\n" + "\n".join(block.lines))
            return self.has_status(page, block, status, printed)
        elif block.language in CONSOLE:
            self.counts["blocks"] += 1
            return self.console(page, block, sandbox, replaced)
        return True

    def console(self, page, block, sandbox, replaced):
        rows, commands = [], block.commands()
        for number, (command, expected) in enumerate(commands):
            self.counts["commands"] += 1
            rows += [("$ " if n == 0 else "> ") + row for n, row in enumerate(command.split("\n"))]
            if "background" in block.notes:
                is_right, printed = sandbox.start(command, expected)
            else:
                compare = any_order if "any order" in block.notes else same
                until = time.monotonic() + (PATIENCE_S if "until" in block.notes else 0)
                status, printed = sandbox.run(command)
                while not compare(expected, printed) and time.monotonic() < until:
                    time.sleep(0.2)
                    status, printed = sandbox.run(command)
                is_right = compare(expected, printed)
                is_last = number + 1 == len(commands)
                if not self.has_status(page, block, status, printed, None if is_last else 0):
                    return False
            is_fixed = "background" in block.notes or any("…" in row for row in expected)
            rows += expected if is_right and (is_fixed or not self.options.refresh) else printed
            if not is_right and not self.options.update:
                self.fail(page, block.first_line, f"`{command}` does not print what the page shows\n" + difference(expected, printed))
        if rows != block.lines:
            replaced.append((block, rows))
        return True

    def has_status(self, page, block, status, printed, wanted=None):
        wanted = int(block.notes.get("exits with") or 0) if wanted is None else wanted
        if status != wanted:
            self.fail(page, block.first_line, f"exit status {status}, not {wanted}\n" + "\n".join(f"    {row}" for row in printed[-30:]))
        return status == wanted

    def links_of(self, page, pages):
        """Checks that each link of a page leads to a file, and to a heading in it."""
        path = REPOSITORY / page
        for number, line in enumerate(prose(path.read_text()), 1):
            for target in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)", line):
                self.counts["links"] += 1
                if re.match(r"https://|mailto:", target):
                    continue
                if re.match(r"[a-z]+:", target):
                    self.fail(page, number, f"{target}: links to other sites begin with https://")
                    continue
                self.link(page, number, path, target, pages)

    def link(self, page, number, path, target, pages):
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.is_relative_to(REPOSITORY) or not there.exists():
            return self.fail(page, number, f"{target}: no such file")
        known = str(there.relative_to(REPOSITORY))
        if page.startswith("docs/") and not known.startswith("docs/") and known not in TOGETHER:
            return self.fail(page, number, f"{target}: it is not part of the site; name the file without a link")
        if anchor and known in pages and anchor not in anchors(there.read_text()):
            return self.fail(page, number, f"{target}: no such heading in {known}")
        return None

    def labels_of(self, page):
        """A command without its label would never be run."""
        fence = None
        for number, line in enumerate((REPOSITORY / page).read_text().split("\n"), 1):
            mark = re.match(r"^\s*(`{3,})\s*(\S*)", line)
            if mark:
                fence = None if fence is not None else mark[2]
            elif re.match(r"^\s*(\$ |sudo )?(aftercast|curl|scripts/[a-z-]+|cargo|systemctl|docker) ", line) and (
                    fence == "" or (fence is None and line.startswith("    "))):
                self.fail(page, number, "a command in a block that is not labelled sh or console")

    def tests_of(self, page):
        """The tests that a page names exist: `file::test` in tests/it, `file::*`, and `test` behind the path of a source file."""
        text = (REPOSITORY / page).read_text()
        for file, name in re.findall(r"`([a-z_]+)::([a-z0-9_*]+)`", text):
            path = REPOSITORY / f"tests/it/{file}.rs"
            if not path.exists():
                self.fail(page, 1, f"`{file}::{name}`: there is no {path.relative_to(REPOSITORY)}")
            elif name != "*" and f"fn {name}()" not in path.read_text():
                self.fail(page, 1, f"`{file}::{name}`: there is no such test")
        for file, name in re.findall(r"`(src/[\w/]+\.rs)`: `([a-z0-9_]+)`", text):
            if f"fn {name}()" not in (REPOSITORY / file).read_text():
                self.fail(page, 1, f"`{name}`: there is no such test in {file}")

    def defects(self):
        """Every kind of defect is described, with what it leads to."""
        source = (REPOSITORY / "src/recording/defect.rs").read_text()
        in_function = lambda name: set(re.findall(r"Self::(\w+)", source.split(f"fn {name}")[1].split("\n    }\n")[0]))
        fatal, left_out = in_function("is_fatal"), in_function("leaves_something_out")
        kinds = re.findall(r"(?m)^    ([A-Z]\w+)(?: \{|,)$", source.split("pub enum Defect")[1].split("\n}\n")[0])
        rows = dict(re.findall(r"(?m)^\| `(\w+)` \| [^|]* \| ([^|]*) \|", (REPOSITORY / "docs/defects.md").read_text()))
        for kind in kinds:
            name = re.sub(r"(?<!^)([A-Z])", r"_\1", kind).lower()
            then = "quarantined" if kind in fatal else "original kept" if kind in left_out else "reported"
            if rows.pop(name, None) != then:
                self.fail("docs/defects.md", 1, f"`{name}` is not there with `{then}`")
        for name in rows:
            self.fail("docs/defects.md", 1, f"`{name}` is no kind of defect")

    def contents(self, pages):
        """Every page below docs/ is in the table of contents."""
        summary = (REPOSITORY / "docs/SUMMARY.md").read_text()
        listed = {"docs/" + target for target in re.findall(r"\]\(([^)#]+\.md)\)", summary)}
        for page in pages:
            is_listed = page in listed or page.startswith("docs/decisions/0") or page == "docs/SUMMARY.md"
            if page.startswith("docs/") and not is_listed:
                self.fail("docs/SUMMARY.md", 1, f"{page} is not in it")
        later = {"docs/" + target for target in re.findall(r"<!-- if it exists: .*?\]\(([^)#]+\.md)\) -->", summary)}
        for page in sorted(listed - later - set(pages)):
            if page.removeprefix("docs/") not in TOGETHER:
                self.fail("docs/SUMMARY.md", 1, f"{page} does not exist")


def check_page(asked):
    """What is found in one page."""
    page, pages, options = asked
    begun, checker = time.monotonic(), Checker(options)
    checker.counts["pages"] += 1
    checker.links_of(page, pages)
    checker.labels_of(page)
    if not options.links_only:
        checker.commands_of(page)
        took_s = time.monotonic() - begun
        if took_s > 0.2:
            print(f"{page}: {took_s:.1f} s", flush=True)
    return checker


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--aftercast", default=str(REPOSITORY / "target/debug/aftercast"), help="the program to run")
    parser.add_argument("--update", action="store_true", help="write what the commands printed into the pages")
    parser.add_argument("--refresh", action="store_true", help="--update, also where only times, ids and sizes differ")
    parser.add_argument("--keep", action="store_true", help="keep the sandbox directories")
    parser.add_argument("--links-only", action="store_true", help="run no command")
    parser.add_argument("pages", nargs="*", help="pages, from the repository's directory (all)")
    options = parser.parse_args()
    options.update |= options.refresh
    options.aftercast = str(Path(options.aftercast).resolve())
    checker, pages = Checker(options), all_pages()
    with ProcessPoolExecutor(AT_ONCE) as pool:
        for of_page in pool.map(check_page, [(page, pages, options) for page in options.pages or pages]):
            checker.add(of_page)
    checker.contents(pages)
    checker.tests_of("SECURITY.md")
    checker.defects()
    for line in checker.not_run:
        print(f"not run: {line}")
    counts = checker.counts
    print(f"{counts['pages']} pages, {counts['links']} links, {counts['blocks']} blocks run ({counts['commands']} commands compared), "
          f"{len(checker.not_run)} blocks not run")
    for failure in checker.failures:
        print(failure, file=sys.stderr)
    if any("does not print" in failure for failure in checker.failures):
        print("If what is printed is right: scripts/check-docs --update PAGE writes it into the page.", file=sys.stderr)
    return 1 if checker.failures else 0


if __name__ == "__main__":
    sys.exit(main())
