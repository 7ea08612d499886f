"""A bar with the time left, for measurements of which each has an estimate."""

import sys
import time


class Progress:
    """On standard error, where that is a terminal. `total` and all estimates are in seconds; how much longer the work
    really takes is learnt from what is done."""

    def __init__(self, total):
        self.factor = 1.0
        self._total, self._done = total, 0.0
        self._start = self._last = time.monotonic()
        self._shown = sys.stderr.isatty()

    def show(self, what, estimate=0.0):
        """What is being done, of that estimate."""
        if not self._shown:
            return
        part = min((time.monotonic() - self._last) / self.factor, 0.98 * estimate)
        share = min(1.0, (self._done + part) / self._total)
        left = (self._total - self._done - part) * self.factor
        time_left = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
        full = int(30 * share)
        sys.stderr.write(f"\r\033[K[{'#' * full}{'.' * (30 - full)}] {share:4.0%} {time_left:>7} left  {what}")
        sys.stderr.flush()

    def add(self, estimate):
        """Something of that estimate is done."""
        self._done += estimate
        self._last = time.monotonic()
        if self._done > 0:
            self.factor = (self._last - self._start) / self._done

    def clear(self):
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
