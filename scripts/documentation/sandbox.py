"""Where the commands of a page are run: a directory, free ports, an environment, and processes that go on until the page ends."""

import ctypes, os, re, shutil, signal, socket, subprocess, tempfile, time
from pathlib import Path

from comparing import appeared
from pages import HEADINGS, REPOSITORY

# Directories of the pages that are made below the sandbox.
MAPPED = ["/srv", "/etc/aftercast", "/var/lib/aftercast", "/var/lib/ome", "/var/rec", "/usr/local/antmedia", "/usr/local/srs",
          "/recordings", "/out", "/home/me", "/mnt/archive"]
# Ports of the pages; each sandbox gets free ones.
PORTS = ["8420", "1935", "9000", "8333", "5432"]
# Where scripts/install-test-stores puts object stores.
TOOLS = Path(os.environ.get("AFTERCAST_TEST_TOOLS", REPOSITORY / "target/test-tools")) / "python/bin"
# How long a command may take, and how long a page waits for what it shows.
LIMIT_S, PATIENCE_S = 120, 60


def has_program(name):
    return Path(name).exists() if name.startswith("/") else (shutil.which(name) or shutil.which(name, path=str(TOOLS))) is not None


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return str(asked.getsockname()[1])


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Sandbox:
    """A directory, an environment and the background processes of one page."""

    def __init__(self, aftercast):
        self.home = Path(tempfile.mkdtemp(prefix="aftercast-docs."))
        self.root, self.work = str(self.home / "root"), self.home / "work"
        self.ports = {port: free_port() for port in PORTS}
        self.background = []
        for directory in [self.work, self.home / "bin", self.home / "root" / "srv", self.home / "root" / "home" / "me"]:
            directory.mkdir(parents=True)
        (self.home / "bin" / "aftercast").symlink_to(aftercast)
        # A page of this repository speaks of its scripts as a reader does who stands in it.
        for name in ["scripts", "examples", "config.toml.example"]:
            (self.work / name).symlink_to(REPOSITORY / name)
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LD_LIBRARY_PATH", "USER", "LOGNAME", "TMPDIR")}
        self.environment = kept | {
            "PATH": f"{self.home}/bin:{kept.get('PATH', '/usr/bin:/bin')}:{TOOLS}", "HOME": f"{self.root}/home/me", "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8", "TZ": "UTC", "NO_COLOR": "1", "COLUMNS": "110", "REPOSITORY": str(REPOSITORY), "PAGE_ROOT": self.root,
            # Posters come some time after the rest: no page could say when. docs/start.md says so.
            "AFTERCAST_PICTURES__POSTER": "false"}
        (self.home / "environment").write_text("")

    def inward(self, text):
        """The text of a page with this sandbox's paths and ports."""
        for path in MAPPED:
            text = re.sub(rf"(?:(?<![\w/.~-])|(?<=file://)){re.escape(path)}(?![\w-])", self.root + path, text)
        for port, mine in self.ports.items():
            text = re.sub(rf"(?<=[:= ]){port}\b(?!-)", mine, text)
        return text

    def outward(self, text):
        """What was printed, as a reader's machine prints it."""
        if any(HEADINGS.match(row) for row in text.split("\n")):
            # In a column of a table the room that the path took remains.
            text = re.sub(re.escape(self.root) + r"(/\S*)(?=  )", lambda found: found[1] + " " * len(self.root), text)
        text = text.replace(self.root, "").replace(str(self.work) + "/", "").replace(str(self.work), "/home/me/aftercast")
        for port, mine in self.ports.items():
            text = re.sub(rf"\b{mine}\b", port, text)
        return text

    def shell(self, command):
        environment = dict(self.environment)
        written = Path(self.root, "etc/aftercast/config.toml")
        if written.exists() and not (self.work / "config.toml").exists():
            environment["AFTERCAST_CONFIG"] = str(written)
        # Variables of one block are there in the next.
        script = f'set -a; cd "$(cat {self.home}/directory 2>/dev/null || echo {self.work})"; . {self.home}/environment\n{self.inward(command)}\n'
        return script, environment

    def run(self, command):
        """Runs a command to its end: its exit status and the lines that it printed."""
        script, environment = self.shell(command)
        script += f"status=$?; pwd > {self.home}/directory; export -p | grep -v ' AFTERCAST_CONFIG=' > {self.home}/environment; exit $status"
        process = subprocess.Popen(["bash", "-c", script], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent)
        try:
            printed, _ = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
            return 124, self.outward(printed.decode(errors="replace")).split("\n") + [f"(no end after {LIMIT_S} s)"]
        lines = self.outward(printed.decode(errors="replace")).split("\n")
        return process.returncode, lines[:-1] if lines[-1] == "" else lines

    def start(self, command, expected, is_service=False):
        """Starts a command that goes on, and waits until the expected lines have appeared: what it has printed. How a service ends
        is of no interest: it is killed."""
        script, environment = self.shell(command)
        environment["AFTERCAST_SERVE__LISTEN"] = f"127.0.0.1:{self.ports['8420']}"
        said = self.home / f"background.{len(self.background)}"
        with said.open("wb") as output:
            process = subprocess.Popen(["bash", "-c", script], env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True, preexec_fn=die_with_parent)
        self.background.append((process, is_service))
        until = time.monotonic() + PATIENCE_S
        while True:
            has_ended = process.poll() is not None
            printed = self.outward(said.read_text(errors="replace")).split("\n")
            if appeared(expected, printed) or has_ended or time.monotonic() > until:
                return appeared(expected, printed), printed
            time.sleep(0.1)

    def close(self, keep):
        for process, is_service in reversed(self.background):
            self.end(process, is_service)
        if keep:
            print(f"  kept: {self.home}")
        else:
            shutil.rmtree(self.home, ignore_errors=True)

    def end(self, process, is_service):
        for number, patience_s in [(signal.SIGTERM, 15), (signal.SIGKILL, 5)][is_service:]:
            try:
                os.killpg(process.pid, number)
                process.wait(patience_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
