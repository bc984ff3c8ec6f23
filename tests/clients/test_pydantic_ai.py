"""Pydantic AI's agents, unchanged, against the running gateway."""

import json

import openai
import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.support.provider import ANSWER, STREAM_HEAD, Provider, chunk, delta, plain
from tests.support.running import KEY, PROVIDER_KEY, policy_for, running

DEMO = "  local: {shape: demo}\n"
MODELS = (
    '  "*": {targets: [{provider: fake}]}\n  alias: {targets: [{provider: fake, model: real-name}]}\n'
    "  demo: {targets: [{provider: local}]}\n"
)
ASK = "What is the weather in Rome?"


class City(BaseModel):
    name: str
    population: int
    sights: list[str]


@pytest.fixture
async def provider():
    async with Provider() as provider:
        yield provider


@pytest.fixture
async def access(provider, tmp_path):
    policy = policy_for(provider.base_url, provider=DEMO, models=MODELS)
    async with running(policy, tmp_path) as gateway, openai.DefaultAsyncHttpxClient() as http:
        sdk = openai.AsyncOpenAI(base_url=gateway.base_url, api_key=KEY, http_client=http, max_retries=0)
        yield OpenAIProvider(openai_client=sdk)


@pytest.fixture
def agent(access):
    def made(model="demo", **settings):
        return Agent(OpenAIChatModel(model, provider=access), **settings)

    return made


def weather(agent, seen):
    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Tells the weather of a city."""
        seen.append(city)
        return f"sunny in {city}"


async def test_a_run_is_answered_with_its_usage(agent):
    result = await agent(instructions="Be short.").run(ASK)
    assert "weather in Rome" in result.output
    usage = result.usage
    assert usage.requests == 1
    assert usage.output_tokens > 0


async def test_a_provider_made_from_base_url_and_key_alone_works(provider, tmp_path):
    async with (
        running(policy_for(provider.base_url, provider=DEMO, models=MODELS), tmp_path) as gateway,
        OpenAIProvider(base_url=gateway.base_url, api_key=KEY) as access,
        Agent(OpenAIChatModel("demo", provider=access)) as agent,
    ):
        assert "weather in Rome" in (await agent.run(ASK)).output


async def test_a_stream_arrives_in_pieces_with_its_usage(agent):
    async with agent().run_stream(ASK) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
        usage = stream.usage
    assert len(pieces) > 3
    assert "weather in Rome" in "".join(pieces)
    assert usage.output_tokens > 0


async def test_a_tool_is_executed_and_its_result_reaches_the_answer(agent):
    seen = []
    asked = agent()
    weather(asked, seen)
    result = await asked.run(ASK)
    assert seen == ["example"]
    assert "sunny in example" in result.output


async def test_a_tool_called_in_a_stream_is_executed(agent):
    seen = []
    asked = agent()
    weather(asked, seen)
    async with asked.run_stream(ASK) as stream:
        said = await stream.get_output()
    assert seen == ["example"]
    assert "sunny in example" in said


@pytest.mark.parametrize("output", [City, NativeOutput(City)], ids=["by tool", "by schema"])
async def test_an_output_type_is_filled(agent, output):
    result = await agent(output_type=output).run("Tell me of Rome")
    assert isinstance(result.output, City)


async def test_the_responses_api_is_used_whole_and_streamed(access):
    asked = Agent(OpenAIResponsesModel("demo", provider=access))
    said = (await asked.run(ASK)).output
    assert "weather in Rome" in said
    async with asked.run_stream(ASK) as stream:
        assert await stream.get_output() == said


async def test_the_provider_gets_its_own_key_and_the_whole_conversation(agent, provider):
    function = {"name": "get_weather", "arguments": '{"city":"Rome"}'}
    calls = [{"id": "call_1", "type": "function", "function": function}]
    asking = json.loads(ANSWER)
    asking["choices"][0]["message"] = {"role": "assistant", "content": None, "tool_calls": calls}
    asking["choices"][0]["finish_reason"] = "tool_calls"
    answers = [plain(json.dumps(asking).encode()), plain(ANSWER)]

    async def script(_, writer):
        writer.write(answers.pop(0))
        await writer.drain()

    provider.script = script
    seen = []
    asked = agent("alias", instructions="Be short.")
    weather(asked, seen)
    result = await asked.run(ASK)
    assert (seen, result.output) == (["Rome"], "hi")
    assert len(provider.calls) == 2
    for call in provider.calls:
        assert call.header("authorization") == f"Bearer {PROVIDER_KEY}".encode()
        assert KEY.encode() not in b"".join(value for _, value in call.headers) + call.body
        assert call.json()["model"] == "real-name"
    messages = provider.calls[1].json()["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "tool"]
    assert messages[2]["tool_calls"][0]["function"] == function
    assert (messages[3]["tool_call_id"], messages[3]["content"]) == ("call_1", "sunny in Rome")


async def test_an_error_of_the_provider_carries_its_status_and_body(agent, provider):
    provider.says(plain(b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}', 429))
    with pytest.raises(ModelHTTPError) as raised:
        await agent("m").run(ASK)
    assert raised.value.status_code == 429
    assert raised.value.body["code"] == "c"


async def test_a_broken_stream_raises(agent, provider):
    async def script(_, writer):
        writer.write(STREAM_HEAD + chunk(delta("a")))
        await writer.drain()
        writer.transport.abort()

    provider.script = script
    with pytest.raises(Exception) as raised:  # the class is Pydantic AI's choice
        async with agent("m").run_stream(ASK) as stream:
            await stream.get_output()
    assert "closed the connection" in str(raised.value)
