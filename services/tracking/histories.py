"""Curves out of a tracking store, many runs at a time: MLflow's client reads one metric of one run with each request.

A database is asked in its own language, by MLflow's own tables; a server by the request behind its charts.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain

import pandas as pd
import sqlalchemy as sa

from services.settings import MLFLOW_ENVIRONMENT
from sweeps.urls import is_server

os.environ.update(MLFLOW_ENVIRONMENT | os.environ)  # before the import: MLflow reads some of it there

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlMetric
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request, verify_rest_response

FAULTS = (MlflowException, OSError, sa.exc.SQLAlchemyError)
READ = ("run_id", "key", "epoch", "timestamp", "value")
RUNS_A_REQUEST = 100  # a server takes no more
RUNS_A_QUERY = 500  # SQLite without statistics scans all points of a metric with each query
POINTS_A_RUN = 2500  # nor does it give more; of a longer curve it gives so many, evenly spaced
ENDPOINT = "/api/2.0/mlflow/metrics/get-history-bulk-interval"


def histories(tracking_uri: str, run_ids: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """The points of some metrics of some runs: one row per run, key and step; a curve's are together, by step.

    A step has one point; should a store show more, the first one written counts.

    Raises:
        FAULTS: the store is out of reach.
    """
    read = _from_server if is_server(tracking_uri) else _from_database
    none = pd.DataFrame({name: [] for name in READ})
    parts = chain([none], read(tracking_uri, run_ids, keys))
    return pd.concat([_tidy(part, run_ids, keys) for part in parts], ignore_index=True)


def _tidy(points: pd.DataFrame, run_ids: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """In order, without second points, and small: two million points are an everyday sweep."""
    names = {"run_id": pd.CategoricalDtype(sorted(set(run_ids))), "key": pd.CategoricalDtype(sorted(set(keys)))}
    points = points.astype(names | {"epoch": "int32", "timestamp": "int64", "value": "float64"})
    points = points.sort_values(["run_id", "key", "epoch", "timestamp"])
    return points.drop_duplicates(["run_id", "key", "epoch"]).drop(columns="timestamp")


def _from_database(tracking_uri: str, run_ids: Sequence[str], keys: Sequence[str]) -> Iterator[pd.DataFrame]:
    metrics = SqlMetric.__table__.columns
    engine = sa.create_engine(tracking_uri)
    columns = (
        metrics.run_uuid.label("run_id"),
        metrics.key,
        metrics.step.label("epoch"),
        metrics.timestamp,
        sa.case((metrics.is_nan, None), else_=metrics.value).label("value"),
    )
    try:
        with closing(engine.connect()) as connection:
            for some in _parts(run_ids, RUNS_A_QUERY):
                wanted = sa.select(*columns).where(metrics.run_uuid.in_(some), metrics.key.in_(keys))
                yield pd.read_sql(wanted, connection)
    finally:
        engine.dispose()


def _from_server(tracking_uri: str, run_ids: Sequence[str], keys: Sequence[str]) -> Iterator[pd.DataFrame]:
    credentials = get_default_host_creds(tracking_uri)
    for some in _parts(run_ids, RUNS_A_REQUEST):
        tables = []
        for key in keys:
            query = {"run_ids": list(some), "metric_key": key, "max_results": POINTS_A_RUN}
            answer = verify_rest_response(http_request(credentials, ENDPOINT, "GET", params=query), ENDPOINT)
            points = answer.json().get("metrics", [])
            table = pd.DataFrame(points, columns=[*READ, "step"]).drop(columns="epoch")
            tables.append(table.rename(columns={"step": "epoch"}))
        yield pd.concat(tables)


def _parts(run_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (run_ids[start : start + size] for start in range(0, len(run_ids), size))
