"""LangChain's model for OpenAI's API against the gateway. GATEWAY_URL says where it is."""

import asyncio
import os
from typing import Literal

import openai
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

STORY = "Tell me a story"


class Person(BaseModel):
    """A person of the story."""

    name: str
    age: int
    mood: Literal["happy", "sad"]


@tool
def get_weather(city: str) -> str:
    """The weather at a place."""
    return f"Sunny in {city}"


@tool
def get_time(city: str) -> str:
    """The time of day at a place."""
    return f"Noon in {city}"


TOOLS = [get_weather, get_time]


def connect(model="auto", **options):
    options = {"api_key": os.environ["GATEWAY_API_KEY"], "max_retries": 0, "timeout": 60, **options}
    return ChatOpenAI(base_url=f"{os.environ['GATEWAY_URL']}/v1", model=model, **options)


def failure_of(kind, call):
    """The error of this kind that `call` ends with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"the call succeeded, {kind.__name__} was due")


def joined(chunks):
    whole = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    assert isinstance(whole, AIMessageChunk), whole
    return whole


def check_complete(model):
    answer = model.invoke(STORY)
    assert answer.content and answer.response_metadata["finish_reason"] == "stop", answer
    assert answer.response_metadata["model_name"] == "demo-1", answer.response_metadata
    assert answer.usage_metadata["total_tokens"] > answer.usage_metadata["output_tokens"] > 0, answer.usage_metadata
    print(f"complete: {answer.usage_metadata['total_tokens']} tokens")
    return answer


async def check_stream(model, whole):
    chunks = list(model.stream(STORY))
    answer = joined(chunks)
    assert sum(bool(chunk.content) for chunk in chunks) > 3, chunks
    assert answer.content == whole.content and answer.usage_metadata == whole.usage_metadata, answer
    assert answer.response_metadata["finish_reason"] == "stop", answer.response_metadata
    assert joined([chunk async for chunk in model.astream(STORY)]).content == whole.content
    print(f"stream: {len(chunks)} chunks, the same text and usage as complete")


def check_tools(model):
    asking = model.bind_tools(TOOLS)
    messages = [HumanMessage("Get weather and get time of Paris")]
    whole = asking.invoke(messages)
    streamed = joined(asking.stream(messages))
    for answer in (whole, streamed):
        assert [call["name"] for call in answer.tool_calls] == ["get_weather", "get_time"], answer.tool_calls
        assert len({call["id"] for call in answer.tool_calls}) == 2 and not answer.invalid_tool_calls, answer
        assert answer.response_metadata["finish_reason"] == "tool_calls", answer.response_metadata
        assert answer.tool_calls == whole.tool_calls, (answer.tool_calls, whole.tool_calls)

        results = [{"get_weather": get_weather, "get_time": get_time}[call["name"]].invoke(call) for call in answer.tool_calls]
        assert all(isinstance(result, ToolMessage) for result in results), results
        last = asking.invoke([*messages, answer, *results])
        assert last.content and not last.tool_calls and "Noon in" in last.content, last
    forced = model.bind_tools([get_time], tool_choice="get_time").invoke("Hello!")
    assert [call["name"] for call in forced.tool_calls] == ["get_time"], forced
    print(f"tools: {', '.join(call['name'] for call in whole.tool_calls)}, streamed alike, results taken")


def check_structured(model):
    for method in ("json_schema", "function_calling", "json_mode"):
        schema = None if method == "json_mode" else Person
        structured = model.with_structured_output(schema, method=method)
        person = structured.invoke("Who is it? Answer in JSON.")
        assert isinstance(person, dict if schema is None else Person), person
        assert schema is None or person.mood in ("happy", "sad"), person
        *_, streamed = structured.stream("Who is it? Answer in JSON.")
        assert streamed == person, (streamed, person)
        print(f"structured output by {method}: {person}")


def check_embeddings():
    url, key = f"{os.environ['GATEWAY_URL']}/v1", os.environ["GATEWAY_API_KEY"]
    embeddings = OpenAIEmbeddings(base_url=url, api_key=key, model="auto", check_embedding_ctx_length=False)
    vectors = embeddings.embed_documents(["one", "two"])
    assert len(vectors) == 2 and len(vectors[0]) > 1 and vectors[1] == embeddings.embed_query("two")
    print(f"embeddings: {len(vectors)} of {len(vectors[0])} values")


def check_errors():
    def reported(kind, status, code, model):
        for ask in (model.invoke, lambda text: list(model.stream(text))):
            error = failure_of(kind, lambda: ask(STORY))
            assert (error.status_code, error.code) == (status, code) and error.request_id, (error.body, error.request_id)
        print(f"error: {type(error).__name__} {error.status_code} {error.code}")

    reported(openai.NotFoundError, 404, "model_not_found", connect("no-such-model"))
    reported(openai.InternalServerError, 503, "upstream_unavailable", connect("unreachable"))
    reported(openai.AuthenticationError, 401, "invalid_api_key", connect(api_key="wrong-key"))
    error = failure_of(openai.BadRequestError, lambda: connect(temperature=7).invoke(STORY))
    assert error.param == "temperature", error.body


model = connect(stream_usage=True)
whole = check_complete(model)
asyncio.run(check_stream(model, whole))
check_tools(model)
check_structured(model)
check_embeddings()
check_errors()
