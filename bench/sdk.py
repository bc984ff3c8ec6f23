"""What OpenTelemetry's own SDK and encoder take for the same spans: run by an interpreter that has them.

Reads the spans of one call as JSON (name, kind, attributes) from standard input; prints microseconds of CPU a call.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

_CALLS = 512
_ROUNDS = 9


def main() -> None:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans  # noqa: PLC0415 - not ours
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider  # noqa: PLC0415
    from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415

    ended: list[Any] = []

    class Collects(SpanProcessor):  # type: ignore[misc]  # of another environment, so Any here
        def on_end(self, span: ReadableSpan) -> None:
            ended.append(span)

    kinds = {1: SpanKind.INTERNAL, 2: SpanKind.SERVER, 3: SpanKind.CLIENT}
    call = json.load(sys.stdin)
    provider = TracerProvider()
    provider.add_span_processor(Collects())
    tracer = provider.get_tracer("bench")

    def one() -> None:
        parent = None
        opened = []
        for span in call:
            made = tracer.start_span(span["name"], parent, kinds[span["kind"]], span["attributes"])
            parent = parent or set_span_in_context(made)
            opened.append(made)
        for made in reversed(opened):
            made.end()

    def block() -> float:
        ended.clear()
        began = time.thread_time()
        for _ in range(_CALLS):
            one()
        encode_spans(ended).SerializeToString()
        return (time.thread_time() - began) / _CALLS * 1e6

    sys.stdout.write(f"{min(block() for _ in range(_ROUNDS))}\n")


if __name__ == "__main__":
    main()
