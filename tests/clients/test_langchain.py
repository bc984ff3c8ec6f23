"""LangChain's own OpenAI classes, unchanged, against the running gateway."""

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

from tests.support.provider import ANSWER, DONE, LAST_CHUNK, STREAM_HEAD, Provider, chunk, delta, plain, usage_chunk
from tests.support.running import KEY, PROVIDER_KEY, policy_for, running

DEMO = "  local: {shape: demo}\n"
MODELS = (
    '  "*": {targets: [{provider: fake}]}\n  alias: {targets: [{provider: fake, model: real-name}]}\n'
    "  demo: {targets: [{provider: local}]}\n"
)
ASK = "What is the weather in Rome?"


class City(BaseModel):
    """A city."""

    name: str
    population: int
    sights: list[str]


@tool
def get_weather(city: str) -> str:
    """Tells the weather of a city."""
    return f"sunny in {city}"


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def gateway(provider, tmp_path):
    async with running(policy_for(provider.base_url, provider=DEMO, models=MODELS), tmp_path) as gateway:
        yield gateway


@pytest.fixture
async def make(gateway):
    """ChatOpenAI with a connection pool of its own, as LangChain shares one between objects and event loops."""
    async with openai.DefaultAsyncHttpxClient() as http:

        def made(model="demo", **settings):
            return ChatOpenAI(model=model, base_url=gateway.base_url, api_key=KEY, http_async_client=http, **settings)

        yield made


async def test_a_message_is_answered_with_its_usage(make):
    answer = await make().ainvoke(ASK)
    assert "weather in Rome" in answer.content
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0


async def test_a_stream_arrives_in_pieces_and_ends_with_its_usage(make):
    parts = [part async for part in make(stream_usage=True).astream(ASK)]
    assert len([part for part in parts if part.content]) > 3
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    assert "weather in Rome" in whole.content
    assert whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["finish_reason"] == "stop"


async def test_a_stream_that_did_not_ask_for_usage_gets_none_though_the_provider_sent_it(make, provider):
    frames = (chunk(delta("he")), chunk(delta("llo", "stop")), chunk(usage_chunk()), chunk(DONE))
    provider.says(STREAM_HEAD, *frames, LAST_CHUNK)
    parts = [part async for part in make("m", stream_usage=False).astream(ASK)]
    assert "".join(part.content for part in parts) == "hello"
    assert not any(part.usage_metadata for part in parts)
    assert provider.calls[0].json()["stream_options"] == {"include_usage": True}


async def test_the_provider_gets_its_own_key_and_its_own_model_name(make, provider):
    provider.says(plain(ANSWER))
    assert (await make("alias", temperature=0.5).ainvoke(ASK)).content == "hi"
    (call,) = provider.calls
    assert call.header("authorization") == f"Bearer {PROVIDER_KEY}".encode()
    assert KEY.encode() not in b"".join(value for _, value in call.headers) + call.body
    asked = call.json()
    assert (asked["model"], asked["temperature"]) == ("real-name", 0.5)
    assert asked["messages"] == [{"role": "user", "content": ASK}]


async def test_a_bound_tool_is_called_and_its_result_is_answered(make):
    bound = make().bind_tools([get_weather])
    first = await bound.ainvoke(ASK)
    (called,) = first.tool_calls
    assert (called["name"], called["args"]) == ("get_weather", {"city": "example"})
    result = await get_weather.ainvoke(called)
    assert isinstance(result, ToolMessage)
    last = await bound.ainvoke([HumanMessage(ASK), first, result])
    assert not last.tool_calls
    assert "sunny in example" in last.content


async def test_a_streamed_tool_call_is_put_together(make):
    parts = [part async for part in make().bind_tools([get_weather]).astream(ASK)]
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    (called,) = whole.tool_calls
    assert (called["name"], called["args"]) == ("get_weather", {"city": "example"})


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_structured_output_is_an_object_of_the_class_asked_for(make, method):
    city = await make().with_structured_output(City, method=method).ainvoke("Tell me of Rome")
    assert isinstance(city, City)


async def test_the_responses_api_is_used_whole_and_streamed(make):
    model = make(use_responses_api=True)
    answer = await model.ainvoke(ASK)
    assert "weather in Rome" in answer.text
    streamed = "".join([part.text async for part in model.astream(ASK)])
    assert streamed == answer.text


async def test_a_batch_answers_every_message(make):
    answers = await make().abatch([f"Question {number} of Rome" for number in range(8)])
    assert all(f"Question {number}" in answer.content for number, answer in enumerate(answers))


async def test_embeddings_of_documents_and_of_a_query_agree(gateway):
    async with openai.DefaultAsyncHttpxClient() as http:
        model = OpenAIEmbeddings(
            model="demo",
            base_url=gateway.base_url,
            api_key=KEY,
            http_async_client=http,
            check_embedding_ctx_length=False,  # would fetch a tokenizer from the network
        )
        documents = await model.aembed_documents(["one", "two"])
        query = await model.aembed_query("one")
    assert [len(row) for row in documents] == [256, 256]
    assert documents[0] == pytest.approx(query)
    assert documents[0] != documents[1]


async def test_an_error_of_the_provider_keeps_its_class_and_code(make, provider):
    provider.says(plain(b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}', 429))
    with pytest.raises(openai.RateLimitError) as raised:
        await make("m", max_retries=0).ainvoke(ASK)
    assert raised.value.code == "c"


async def test_a_broken_stream_raises(make, provider):
    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await writer.drain()
        writer.transport.abort()

    provider.script = script
    with pytest.raises(openai.APIError):
        [part async for part in make("m").astream(ASK)]
