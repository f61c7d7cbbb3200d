"""Python grpcio against the gateway: whole answers, streams, typed errors, deadline, cancel. GATEWAY_URL says where it is."""

import os
import sys
import time
from pathlib import Path

import grpc

sys.path.insert(0, str(Path(__file__).parents[2] / "examples/python"))
import grpc_client
from grpc_client import complete, details, question, stream
from llmgateway.v1 import (
    completion_pb2,
    completion_service_pb2_grpc,
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    provider_service_pb2,
    provider_service_pb2_grpc,
)


def failure_of(call):
    """The error that `call` ends with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded, an error was due")


def check_unary(completions):
    answer = complete(completions, question("Hello!"), timeout=30)
    completion = answer.completion
    assert answer.output_text, answer
    assert completion.provider == "demo" and completion.id.startswith("chatcmpl-") and completion.request_id, completion
    assert completion.choices[0].finish_reason == completion_pb2.FINISH_REASON_STOP, completion
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    assert completion.attempts[-1].outcome == completion_pb2.ATTEMPT_OUTCOME_SUCCEEDED, completion.attempts
    print(f"unary: {len(answer.output_text)} characters, {completion.usage.total_tokens} tokens")


def check_request_id(completions):
    request = completion_pb2.CompletionRequest()
    request.CopyFrom(question("Hello!"))
    request.options.request_id = "asked-by.python:1"
    answer, call = completions.CreateCompletion.with_call(
        grpc_client.completion_service_pb2.CreateCompletionRequest(request=request),
        metadata=grpc_client.credentials(),
        timeout=30,
    )
    assert answer.completion.request_id == "asked-by.python:1", answer.completion.request_id
    assert ("x-request-id", "asked-by.python:1") in [tuple(pair) for pair in call.initial_metadata()]
    print("unary: the request id comes back in the answer and in the metadata")


def check_stream(completions):
    events = [response.event for response in stream(completions, question("Tell me a story"), timeout=60)]
    kinds = [event.WhichOneof("event") for event in events if event.WhichOneof("event") != "heartbeat"]
    assert kinds[0] == "started" and kinds[-2:] == ["choice_finished", "finished"], kinds
    assert kinds.count("text_delta") > 1, kinds
    text = "".join(event.text_delta.text for event in events if event.WhichOneof("event") == "text_delta")
    assert text == complete(completions, question("Tell me a story"), timeout=60).output_text
    assert events[-1].finished.usage.total_tokens > 0, events[-1]
    print(f"stream: {len(events)} events, the same text as unary")


def check_failover(completions):
    answer = complete(completions, question("Hello!", model="rescued"), timeout=30)
    outcomes = [(attempt.provider, attempt.reason) for attempt in answer.completion.attempts]
    assert outcomes[0] == ("dead", "provider_unavailable") and outcomes[-1] == ("demo", ""), outcomes
    print(f"failover: {outcomes}")


def check_typed_errors(completions):
    def reported(error, code, reason):
        found = details(error)
        assert error.code() == code, error
        assert found["ErrorInfo"].reason == reason, found
        assert found["CallFailure"].reason == reason.lower() and found["CallFailure"].request_id, found
        print(f"error: {error.code().name} {reason}, details {sorted(found)}: {error.details()}")
        return found

    unknown = failure_of(lambda: complete(completions, question("Hello!", model="no-such-model"), timeout=30))
    reported(unknown, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")

    wrong = question("Hello!", temperature=7)
    for refused in (lambda: complete(completions, wrong, timeout=30), lambda: list(stream(completions, wrong, timeout=30))):
        found = reported(failure_of(refused), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        [violation] = found["BadRequest"].field_violations
        assert violation.field.endswith("temperature") and "2" in violation.description, violation

    unreachable = question("Hello!", model="unreachable")
    for failed in (lambda: complete(completions, unreachable, timeout=30), lambda: list(stream(completions, unreachable, timeout=30))):
        found = reported(failure_of(failed), grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE")
        assert {attempt.provider for attempt in found["CallFailure"].attempts} == {"dead"}, found

    request = grpc_client.completion_service_pb2.CreateCompletionRequest(request=question("Hello!"))
    stranger = failure_of(lambda: completions.CreateCompletion(request, timeout=30))
    assert stranger.code() == grpc.StatusCode.UNAUTHENTICATED, stranger
    assert details(stranger)["ErrorInfo"].reason == "UNAUTHENTICATED", details(stranger)
    print("error: UNAUTHENTICATED without a key")


def check_deadline(completions):
    begun = time.monotonic()
    error = failure_of(lambda: list(stream(completions, question("Tell me a story"), timeout=0.3)))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - begun < 1, time.monotonic() - begun
    print(f"deadline: {error.code().name} after {time.monotonic() - begun:.2f} s")


def check_cancel(completions, providers):
    call = stream(completions, question("Tell me a story"), timeout=60)
    for response in call:
        if response.event.WhichOneof("event") == "text_delta":
            call.cancel()
            break
    assert failure_of(lambda: list(call)).code() == grpc.StatusCode.CANCELLED

    deadline = time.monotonic() + 1
    request = provider_service_pb2.GetProviderRequest(name="demo")
    while providers.GetProvider(request, metadata=grpc_client.credentials()).provider.status.active_requests > 0:
        assert time.monotonic() < deadline, "the provider still works for a caller that left a second ago"
    print("cancel: CANCELLED, and nothing goes on behind it")


def check_other_services(channel, providers):
    embeddings = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)
    request = embedding_service_pb2.EmbeddingRequest(
        inputs=[embedding_service_pb2.EmbeddingInput(text=text) for text in ("one", "two")]
    )
    message = embedding_service_pb2.CreateEmbeddingsRequest(request=request)
    result = embeddings.CreateEmbeddings(message, metadata=grpc_client.credentials(), timeout=30).result
    assert [embedding.index for embedding in result.embeddings] == [0, 1], result
    assert all(len(embedding.values) > 1 for embedding in result.embeddings), result

    models = providers.ListModels(provider_service_pb2.ListModelsRequest(), metadata=grpc_client.credentials()).models
    assert {"rescued", "unreachable"} <= {model.id for model in models if model.alias}, models
    listed = providers.ListProviders(provider_service_pb2.ListProvidersRequest(), metadata=grpc_client.credentials()).providers
    assert {"demo", "dead"} <= {provider.name for provider in listed}, listed
    print(f"embeddings of {len(result.embeddings[0].values)} values; {len(models)} models; {len(listed)} providers")


with grpc.insecure_channel(os.environ["GATEWAY_URL"].removeprefix("http://")) as channel:
    completions = completion_service_pb2_grpc.CompletionServiceStub(channel)
    providers = provider_service_pb2_grpc.ProviderServiceStub(channel)
    check_unary(completions)
    check_request_id(completions)
    check_stream(completions)
    check_failover(completions)
    check_typed_errors(completions)
    check_deadline(completions)
    check_cancel(completions, providers)
    check_other_services(channel, providers)
