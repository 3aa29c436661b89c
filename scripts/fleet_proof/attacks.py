"""What happens to the nodes and to the database while they work."""

import random
import signal
import threading
import time


class Attack(threading.Thread):
    """An attack that is repeated until the time is over."""

    pause_s = (2, 8)

    def __init__(self, prove):
        super().__init__(daemon=True)
        self.prove, self.random = prove, random.Random(f"{prove.seed}/{type(self).__name__}")

    def run(self):
        while not self.prove.is_over.wait(self.random.uniform(*self.pause_s)):
            try:
                self.once()
            except Exception as error:  # An error of the test itself must not look like a run without attacks.
                self.prove.fault(f"{type(self).__name__}: {error!r}")
                return

    def any_node(self):
        return self.random.choice(self.prove.nodes)


class Kills(Attack):
    """SIGKILL at any moment; what has ended is started again."""

    def once(self):
        self.any_node().send(signal.SIGKILL)
        self.prove.tally.count("SIGKILL of a node")
        time.sleep(self.random.uniform(0, 3))


class Starts(Attack):
    """Whatever has ended is started again, as a service manager does."""

    pause_s = (1, 2)

    def once(self):
        for node in self.prove.nodes:
            code = node.start_if_ended()
            if code is not None and code != -signal.SIGKILL:
                self.prove.tally.count(f"a node ended with {code}")


class Sleeps(Attack):
    """A node is suspended for longer than it counts as alive, and wakes up as if nothing had happened."""

    def once(self):
        node = self.any_node()
        node.send(signal.SIGSTOP)
        self.prove.tally.count("SIGSTOP for longer than a lease")
        self.prove.is_over.wait(self.prove.sleep_s)
        node.send(signal.SIGCONT)


class Partitions(Attack):
    """Nothing passes between a node and the database, and nobody is told."""

    def once(self):
        node = self.any_node()
        node.cut(True)
        self.prove.tally.count("a node cut off from the database")
        self.prove.is_over.wait(self.random.choice((5, self.prove.sleep_s)))
        node.cut(False)


class Cables(Attack):
    """A node has no network at all, neither to the database nor to the stores."""

    pause_s = (5, 15)

    def once(self):
        node = self.any_node()
        node.network.cut(True)
        self.prove.tally.count("a node without network")
        self.prove.is_over.wait(self.random.choice((5, self.prove.sleep_s)))
        node.network.cut(False)


class Databases(Attack):
    """The server ends without a word and comes back, or its standby takes its place."""

    pause_s = (15, 30)

    def once(self):
        if self.random.random() < 0.5:
            self.prove.cluster.crash()
            self.prove.tally.count("pg_ctl stop -m immediate")
        else:
            self.prove.tally.count(f"primary lost, {self.prove.cluster.fail_over()} standby promoted")


class Unmounts(Attack):
    """The shared file system is not there on one node for a while."""

    pause_s = (8, 15)

    def once(self):
        number = self.random.randrange(self.prove.options.nodes)
        if self.prove.shares.unmount(number):
            self.prove.tally.count("the shared file system unmounted on one node")
            time.sleep(self.random.uniform(2, 10))
            self.prove.shares.mount(number)


class Weather(Attack):
    """Both stores fail three in ten requests, in phases."""

    def once(self):
        self.prove.store.is_bad = not self.prove.store.is_bad
        self.prove.tally.count("a phase in which the stores fail 30 %" if self.prove.store.is_bad else "a phase in which they do not")


class Arrivals(Attack):
    """Recordings come, as a server writes them."""

    pause_s = (0, 0.01)

    def once(self):
        if not self.prove.arrive():
            self.prove.is_over.wait(1)
