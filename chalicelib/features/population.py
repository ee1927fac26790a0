"""What a version knows of the population beyond LNIRT, and what that says of one student."""

from __future__ import annotations

from dataclasses import dataclass

from chalicelib.features.sequences import PathTable, no_paths
from chalicelib.features.traits import TraitModel, no_traits


@dataclass(frozen=True)
class Population:
    """The traits behind students' results, and how those fared who came along a path."""

    traits: TraitModel
    paths: PathTable


def nothing_known(n_topics: int) -> Population:
    """A population of which only LNIRT is known."""
    return Population(no_traits(n_topics), no_paths())
