"""LlamaIndex's model for APIs like OpenAI's against the gateway. GATEWAY_URL says where it is."""

import asyncio
import os

import openai
from llama_index.core.llms import ChatMessage, MessageRole
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

STORY = [ChatMessage(role=MessageRole.USER, content="Tell me a story")]


class Person(BaseModel):
    """A person of the story."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather at a place."""
    return f"Sunny in {city}"


def get_time(city: str) -> str:
    """The time of day at a place."""
    return f"Noon in {city}"


TOOLS = [FunctionTool.from_defaults(get_weather), FunctionTool.from_defaults(get_time)]


def connect(model="auto", **options):
    return OpenAILike(
        **{
            "model": model,
            "api_base": f"{os.environ['GATEWAY_URL']}/v1",
            "api_key": os.environ["GATEWAY_API_KEY"],
            "is_chat_model": True,
            "is_function_calling_model": True,
            "should_use_structured_outputs": True,
            "max_retries": 0,
            "timeout": 60,
            **options,
        }
    )


def failure_of(kind, call):
    """The error of this kind that `call` ends with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"the call succeeded, {kind.__name__} was due")


def check_complete(model):
    answer = model.chat(STORY)
    assert answer.message.content and answer.raw.usage.total_tokens > 0, answer
    assert model.complete("Tell me a story").text == answer.message.content
    print(f"complete: {answer.raw.model}, {answer.raw.usage.total_tokens} tokens")
    return answer.message.content


async def check_stream(model, text):
    pieces = list(model.stream_chat(STORY))
    assert "".join(piece.delta or "" for piece in pieces) == pieces[-1].message.content == text, pieces[-1]
    assert len(pieces) > 3, pieces
    later = [piece async for piece in await model.astream_chat(STORY)]
    assert later[-1].message.content == text, later[-1]
    print(f"stream: {len(pieces)} pieces, the same text as complete")


def check_tools(model):
    asked = [ChatMessage(role=MessageRole.USER, content="Get weather and get time of Paris")]
    whole = model.chat_with_tools(TOOLS, chat_history=asked, allow_parallel_tool_calls=True)
    *_, streamed = model.stream_chat_with_tools(TOOLS, chat_history=asked, allow_parallel_tool_calls=True)
    for answer in (whole, streamed):
        calls = model.get_tool_calls_from_response(answer)
        assert [call.tool_name for call in calls] == ["get_weather", "get_time"], calls
        assert len({call.tool_id for call in calls}) == 2 and all("city" in call.tool_kwargs for call in calls), calls
        results = [
            ChatMessage(
                role=MessageRole.TOOL,
                content=str({"get_weather": get_weather, "get_time": get_time}[call.tool_name](**call.tool_kwargs)),
                additional_kwargs={"tool_call_id": call.tool_id},
            )
            for call in calls
        ]
        last = model.chat_with_tools(TOOLS, chat_history=[*asked, answer.message, *results]).message
        assert "Noon in" in last.content, last
    response = model.predict_and_call(TOOLS, user_msg="Get weather of Paris")
    assert str(response).startswith("Sunny in"), response
    print("tools: get_weather, get_time, streamed alike, results taken")


def check_structured(model):
    prompt = PromptTemplate("Who is {name}?")
    by_format = model.structured_predict(Person, prompt, name="Ada")
    by_tool = connect(should_use_structured_outputs=False).structured_predict(Person, prompt, name="Ada")
    *_, streamed = model.stream_structured_predict(Person, prompt, name="Ada")
    for person in (by_format, by_tool, streamed):
        assert isinstance(person.name, str) and isinstance(person.age, int), person
    assert model.as_structured_llm(Person).chat(STORY).raw.age == by_format.age
    print(f"structured output: {by_format}, by a tool {by_tool}, streamed alike")


def check_errors():
    def reported(kind, status, code, model):
        for ask in (model.chat, lambda messages: list(model.stream_chat(messages))):
            error = failure_of(kind, lambda: ask(STORY))
            assert (error.status_code, error.code) == (status, code) and error.request_id, (error.body, error.request_id)
        print(f"error: {type(error).__name__} {error.status_code} {error.code}")

    reported(openai.NotFoundError, 404, "model_not_found", connect("no-such-model"))
    reported(openai.InternalServerError, 503, "upstream_unavailable", connect("unreachable"))
    reported(openai.AuthenticationError, 401, "invalid_api_key", connect(api_key="wrong-key"))


model = connect()
text = check_complete(model)
asyncio.run(check_stream(model, text))
check_tools(model)
check_structured(model)
check_errors()
