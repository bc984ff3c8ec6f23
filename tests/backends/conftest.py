"""Each back end is started once and has the same traffic in front of it; the tests look at what it shows of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.backends.mlflow import MLflow
from tests.backends.phoenix import Phoenix
from tests.backends.servers import mlflow_server, phoenix_server
from tests.backends.shown import BackEnd, ShownTrace
from tests.backends.traffic import Traffic, made_for
from tests.support.patience import PATIENCE_S

SERVERS = {"phoenix": (phoenix_server, Phoenix), "mlflow": (mlflow_server, MLflow)}


@dataclass(frozen=True)
class Seen:
    """What was made, and what the back end shows of it."""

    back_end: BackEnd
    traffic: Traffic
    traces: tuple[ShownTrace, ...]

    def of(self, name: str) -> ShownTrace:
        """The trace of a plain call."""
        call = self.traffic.calls[name].call
        return next(trace for trace in self.traces if call in calls_in(trace))

    def of_application(self, name: str) -> ShownTrace:
        return next(trace for trace in self.traces if trace.trace_id == self.traffic.traces[name])


def calls_in(trace: ShownTrace) -> list[str]:
    """The gateway's ids of the calls in a trace."""
    found = [fact(span.attributes, "gw.request.id") for span in trace.spans]
    return [str(call) for call in found if call is not None]


def fact(attributes, name: str) -> object:
    """An attribute by its name, whether names with dots are kept or unfolded."""
    for part in [name] if name in attributes else name.split("."):
        attributes = attributes.get(part) if isinstance(attributes, dict) else None
    return attributes


@pytest.fixture(scope="session", params=SERVERS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    serve, client = SERVERS[request.param]
    with serve(tmp_path_factory.mktemp(request.param)) as url:
        back_end = client(url)
        traffic = asyncio.run(made_for(back_end, tmp_path_factory.mktemp("gateway")))
        traces = stored(back_end, lambda traces: sum(len(trace.spans) for trace in traces) >= traffic.spans)
        yield Seen(back_end, traffic, tuple(traces))


def stored(back_end: BackEnd, enough: Callable[[list[ShownTrace]], bool]) -> list[ShownTrace]:
    """All traces, once there are enough or time is up: Phoenix answers an export before it has stored it."""
    end = time.monotonic() + PATIENCE_S
    while True:
        traces = back_end.traces()
        if enough(traces) or time.monotonic() > end:
            return traces
        time.sleep(0.1)
