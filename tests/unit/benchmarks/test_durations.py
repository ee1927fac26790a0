"""What the benchmark of serving makes of its measurements."""

from __future__ import annotations

from benchmarks._durations import Durations


def durations(**values: tuple[float, float]) -> Durations:
    """Milliseconds of the small and of the large student by what they did."""
    made = Durations()
    for what, by_size in values.items():
        for size, ms in zip(("small", "large"), by_size, strict=True):
            made.add(what, size, ms)
    return made


def test_the_ratio_of_histories_is_that_of_the_worst_request() -> None:
    made = durations(create=(2.0, 2.2), complete=(2.0, 1.8), list=(1.0, 1.5), status=(1.0, 9.0))
    assert made.history_ratio() == 1.5


def test_the_ratio_of_the_fifth_is_to_the_other_completions() -> None:
    assert durations(complete=(2.0, 2.0), fifth=(3.0, 3.0)).fifth_ratio() == 1.5


def test_figures_are_over_all_students_and_named_by_what_they_did() -> None:
    made = Durations()
    for ms in range(1, 101):
        made.add("create", "small" if ms % 2 else "large", float(ms))
    assert made.figures("training_", "create") == {"training_create_p50_ms": 50.0, "training_create_p99_ms": 99.0}
