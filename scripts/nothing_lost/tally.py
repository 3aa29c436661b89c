"""What happened how often."""

import threading
from collections import Counter


class Tally:
    """Counts of each attack."""

    def __init__(self):
        self.counts, self.lock = Counter(), threading.Lock()

    def count(self, what, times=1):
        with self.lock:
            self.counts[what] += times
