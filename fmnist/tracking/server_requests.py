"""Requests to MLflow's server beside those of its client, and how all of them are sent."""

import base64
import json
import os
from collections.abc import Sequence
from typing import Any

from mlflow.tracking.request_header.abstract_request_header_provider import RequestHeaderProvider
from mlflow.tracking.request_header.registry import _request_header_provider_registry
from mlflow.utils.rest_utils import http_request, verify_rest_response

from fmnist.tracking.stored import Number, StoredRun

_SEARCH = "/api/2.0/mlflow/runs/search"
_NUMBERS = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"  # by which MLflow's UI draws the curves of many runs
MOST_RUNS, MOST_NUMBERS = 100, 25_000  # of one answer to it


class _OwnConnection(RequestHeaderProvider):
    """A connection for each request: on one that was used before, an answer of MLflow's server comes 40 ms later.

    The server sends head and body of an answer apart; with several processes, which share a socket that uvicorn binds,
    asyncio leaves Nagle's algorithm on, and the body waits until this machine acknowledges the head, which it delays.
    """

    def in_context(self) -> bool:
        """Where another connection costs little: without encryption."""
        return os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http:")

    def request_headers(self) -> dict[str, str]:
        """What ends the connection."""
        return {"Connection": "close"}


_request_header_provider_registry.register(_OwnConnection)  # type: ignore[no-untyped-call]


def search(
    credentials: Any, experiment: str, condition: str = "", *, offset: int, count: int
) -> tuple[list[dict[str, Any]], bool]:
    """Runs of an experiment as the server sends them, and whether there are more.

    MLflow's client makes four objects of every number and word that it reads, which takes five times as long; and it
    knows no offsets.
    """
    request = {"experiment_ids": [experiment], "filter": condition, "max_results": count}
    token = {"page_token": base64.b64encode(json.dumps({"offset": offset}).encode()).decode()} if offset else {}
    answer = http_request(credentials, _SEARCH, "POST", json=request | token)  # type: ignore[no-untyped-call]
    found = verify_rest_response(answer, _SEARCH).json()
    return found.get("runs", []), "next_page_token" in found


def numbers(credentials: Any, run_ids: Sequence[str], key: str) -> list[Number]:
    """What up to `MOST_RUNS` runs have logged under a key, of each in the order in which it was logged.

    Of `MOST_NUMBERS` some may be missing.
    """
    answer = http_request(credentials, _NUMBERS, "GET", params={"run_id": run_ids, "metric_key": key})  # type: ignore[no-untyped-call]
    found = verify_rest_response(answer, _NUMBERS).json()["metrics"]
    return [(each["run_id"], key, each["step"], float(each["value"]), each["timestamp"]) for each in found]


def of_json(run: dict[str, Any]) -> StoredRun:
    """A run as the server sends it as ours."""
    info, data = run["info"], run.get("data", {})
    tags, params = ({each["key"]: each.get("value", "") for each in data.get(kind, ())} for kind in ("tags", "params"))
    metrics = {each["key"]: float(each.get("value", 0.0)) for each in data.get("metrics", ())}
    start, end = (int(info.get(name, 0)) for name in ("start_time", "end_time"))
    return StoredRun(info["run_id"], info.get("run_name", ""), info["status"], start, end, tags, params, metrics)
