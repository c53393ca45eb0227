"""Requests within MLflow's size limits. Pure.

The limits (``mlflow.utils.validation``): 1,000 entities per request, of which at most 100 parameters and 100 tags, and one
megabyte. Beyond them, MLflow's client splits the data and sends the tags first; here they come last, since they vouch for
the points.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

from services.tracking.projection import MetricPoint

ENTITIES = 1000
LIMITS = {"points": 1000, "parameters": 100, "tags": 100}
BYTES = 900_000  # the rest of the megabyte is for the run's id and for errors of the estimate below
FRAME_BYTES = 120  # per entity: field names and indentation


@dataclass
class RequestPart:
    """The content of one request."""

    points: list[MetricPoint] = field(default_factory=list)
    parameters: list[tuple[str, str]] = field(default_factory=list)
    tags: list[tuple[str, str]] = field(default_factory=list)
    size: int = 0

    def add(self, kind: str, entity: Any) -> bool:
        """Add an entity if there is room; return whether there was."""
        own, size = getattr(self, kind), len(json.dumps(entity)) + FRAME_BYTES
        total = len(self.points) + len(self.parameters) + len(self.tags)
        if len(own) == LIMITS[kind] or total == ENTITIES or self.size + size > BYTES:
            return False
        own.append(entity)
        self.size += size
        return True


def batches(
    points: Sequence[MetricPoint], parameters: Mapping[str, str], tags: Mapping[str, str]
) -> Iterator[RequestPart]:
    """Everything in as few requests as possible: all points, then the parameters, then the tags."""
    batch = RequestPart()
    for kind, entity in chain(
        zip(repeat("points"), points),
        zip(repeat("parameters"), parameters.items()),
        zip(repeat("tags"), tags.items()),
    ):
        if not batch.add(kind, entity):
            yield batch
            batch = RequestPart()
            batch.add(kind, entity)
    if batch.size:
        yield batch
