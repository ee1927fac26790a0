"""How long requests took, by what was asked and by which student."""

from __future__ import annotations

from collections import defaultdict

from benchmarks._percentiles import percentile, rounded


class Durations:
    """Milliseconds by what was done and by whom (``small`` or ``large``)."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, what: str, size: str, ms: float) -> None:
        """Note one request."""
        self._values[what, size].append(ms)

    def p(self, share: float, what: str, *sizes: str) -> float:
        """The percentile of that share (0..1) of some students' requests, by default of all."""
        requested = sizes or ("small", "large")
        return percentile([ms for size in requested for ms in self._values[what, size]], share)

    def figures(self, prefix: str, *kinds: str) -> dict[str, float]:
        """p50 and p99 of each, named ``<prefix><what>_p50_ms``."""
        return {
            f"{prefix}{what}_p{round(share * 100)}_ms": rounded(self.p(share, what))
            for what in kinds
            for share in (0.5, 0.99)
        }

    def history_ratio(self) -> float:
        """The worst ratio of the medians of the large and the small student."""
        return max(self.p(0.5, what, "large") / self.p(0.5, what, "small") for what in ("create", "complete", "list"))

    def fifth_ratio(self) -> float:
        """The median of the completions that ask for a training over that of the others."""
        return self.p(0.5, "fifth") / self.p(0.5, "complete")
