"""An application that traces itself with OpenTelemetry's SDK, and, where `says_itself`, its model calls with OpenInference's
instrumentation of the OpenAI SDK. Runs in .venv-backends: `application.py BASE_URL`, on standard input the calls, as JSON;
on standard output by the name of each the trace that it was made in and the number of spans that were exported of it.
"""

import json
import sys

import openai
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagate import inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def main(base_url: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    told = {call["name"]: make(base_url, call) for call in json.load(sys.stdin)}
    provider.shutdown()
    json.dump(told, sys.stdout)


def make(base_url: str, call: dict[str, object]) -> dict[str, object]:
    instrumentor = OpenAIInstrumentor()
    if call["says_itself"]:
        instrumentor.instrument()
    # What the instrumentations of HTTP clients do: the context that is current when a request leaves.
    http = openai.DefaultHttpxClient(event_hooks={"request": [lambda request: inject(request.headers)]})
    client = openai.OpenAI(base_url=base_url, api_key=call["key"], max_retries=1, http_client=http)
    try:
        with trace.get_tracer("shop").start_as_current_span("GET /answer") as span:
            ask(client, call)
    finally:
        if call["says_itself"]:
            instrumentor.uninstrument()
    return {"trace_id": f"{span.get_span_context().trace_id:032x}", "spans": 1 + int(bool(call["says_itself"]))}


def ask(client: openai.OpenAI, call: dict[str, object]) -> None:
    asked = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": call["says"]}],
        "user": f"u-{call['name']}",
        "extra_body": {"metadata": {"session_id": f"s-{call['name']}"}},
    }
    if call.get("stream"):
        for _ in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
            pass
    else:
        client.chat.completions.create(**asked)


main(sys.argv[1])
