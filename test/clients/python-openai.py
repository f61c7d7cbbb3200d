"""OpenAI's Python SDK against the gateway. GATEWAY_URL says where it is."""

import json
import os
import sys
from pathlib import Path

import openai

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/python"))
from openai_client import connect

MESSAGES = [{"role": "user", "content": "Tell me a story"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather at a place",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def failure_of(kind, call):
    """The error of this kind that `call` ends with."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"the call succeeded, {kind.__name__} was due")


def check_complete(client):
    answer = client.chat.completions.create(model="auto", messages=MESSAGES, user="somebody", seed=1)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-"), answer
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].finish_reason == "stop", answer
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0, answer.usage
    assert answer._request_id, "no x-request-id"
    print(f"complete: {answer.model}, {answer.usage.total_tokens} tokens")
    return answer.choices[0].message.content


def check_stream(client, text):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="auto", messages=MESSAGES, stream=True, stream_options=options))
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].choices[0].delta.role == "assistant", chunks[0]
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == text
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1]), "usage before the last chunk"

    plain = list(client.chat.completions.create(model="auto", messages=MESSAGES, stream=True))
    assert all(chunk.choices for chunk in plain), "a usage chunk that nobody asked for"
    print(f"stream: {len(chunks)} chunks, the same text as complete, usage only when asked for")


def check_stream_helper(client, text):
    with client.chat.completions.stream(model="auto", messages=MESSAGES) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert "".join(deltas) == final.choices[0].message.content == text
    assert final.choices[0].finish_reason == "stop", final
    print(f".stream(): {len(deltas)} deltas")


def check_tools(client):
    asked = {
        "model": "auto",
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "get_weather"}},
    }
    answer = client.chat.completions.create(**asked).choices[0]
    [call] = answer.message.tool_calls
    assert answer.finish_reason == "tool_calls" and call.id and call.function.name == "get_weather", answer
    assert isinstance(json.loads(call.function.arguments), dict), call

    with client.chat.completions.stream(**asked) as stream:
        for _ in stream:
            pass
        streamed = stream.get_final_completion().choices[0]
    [streamed_call] = streamed.message.tool_calls
    assert streamed.finish_reason == "tool_calls", streamed
    assert streamed_call.function.name == "get_weather" and streamed_call.function.arguments == call.function.arguments

    result = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 20 degrees"}
    messages = [*asked["messages"], answer.message.model_dump(exclude_none=True), result]
    last = client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER]).choices[0]
    assert last.message.content and last.finish_reason == "stop", last
    print(f"tools: {call.function.name}({call.function.arguments}), streamed alike, result taken")


def check_embeddings(client):
    default = client.embeddings.create(model="auto", input=["one", "two"])
    floats = client.embeddings.create(model="auto", input=["one", "two"], encoding_format="float")
    assert [item.index for item in default.data] == [0, 1] and default.object == "list", default
    assert len(default.data[0].embedding) > 1
    for one, other in zip(default.data, floats.data):
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6
    print(f"embeddings: {len(default.data)} of {len(default.data[0].embedding)} values, base64 and float agree")


def check_models(client):
    ids = [model.id for model in client.models.list()]
    assert {"rescued", "unreachable"} <= set(ids), ids
    for name in ids:
        assert client.models.retrieve(name).id == name
    error = failure_of(openai.NotFoundError, lambda: client.models.retrieve("no/such/model"))
    assert error.code == "model_not_found", error.body
    print(f"models: {', '.join(ids)}")


def check_errors(client):
    def ask(**fields):
        return client.chat.completions.create(**{"model": "auto", "messages": MESSAGES, **fields})

    def reported(error, status, kind, code, param):
        found = (error.status_code, error.type, error.code, error.param)
        assert found == (status, kind, code, param), (found, error.body)
        assert {"message", "type", "param", "code"} <= set(error.body) and error.request_id, error.body
        print(f"error: {type(error).__name__} {found}: {error.body['message']}")

    for stream in (False, True):
        error = failure_of(openai.NotFoundError, lambda: ask(model="no-such-model", stream=stream))
        reported(error, 404, "invalid_request_error", "model_not_found", "model")
        error = failure_of(openai.BadRequestError, lambda: ask(temperature=7, stream=stream))
        assert error.param == "temperature" and error.type == "invalid_request_error" and "2" in error.body["message"], error.body
        error = failure_of(openai.BadRequestError, lambda: ask(messages=[], stream=stream))
        assert error.param == "messages", error.body
        error = failure_of(openai.InternalServerError, lambda: ask(model="unreachable", stream=stream))
        reported(error, 503, "api_error", "upstream_unavailable", None)

    stranger = connect(os.environ["GATEWAY_URL"], api_key="wrong-key", max_retries=0)
    error = failure_of(openai.AuthenticationError, lambda: stranger.models.list())
    reported(error, 401, "authentication_error", "invalid_api_key", None)


client = connect(os.environ["GATEWAY_URL"], max_retries=0)
text = check_complete(client)
check_stream(client, text)
check_stream_helper(client, text)
check_tools(client)
check_embeddings(client)
check_models(client)
check_errors(client)
