"""Talks to the gateway by gRPC, with code generated from the plain proto files.

    pip install -r examples/python/requirements.txt
    mkdir -p build
    python -m grpc_tools.protoc -I proto --python_out=build --grpc_python_out=build \
        $(cd proto && find llmgateway google buf -name '*.proto')
    PYTHONPATH=build python examples/python/grpc_client.py localhost:8080

GATEWAY_API_KEY holds the key, where the gateway wants one.
"""

import os
import sys

import grpc
from google.rpc import error_details_pb2, status_pb2
from llmgateway.v1 import completion_pb2, completion_service_pb2, completion_service_pb2_grpc

DETAIL_TYPES = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.RequestInfo,
    completion_pb2.CallFailure,
)


def credentials():
    """The metadata that carries the caller's key."""
    key = os.environ.get("GATEWAY_API_KEY")
    return [("authorization", f"Bearer {key}")] if key else []


def question(text, **fields):
    """A request with one message; `fields` are more fields of CompletionRequest."""
    message = completion_pb2.Message(role=completion_pb2.ROLE_USER, parts=[completion_pb2.Part(text=text)])
    return completion_pb2.CompletionRequest(messages=[message], **fields)


def complete(completions, request, **call):
    """Asks for a whole answer."""
    message = completion_service_pb2.CreateCompletionRequest(request=request)
    return completions.CreateCompletion(message, metadata=credentials(), **call)


def stream(completions, request, **call):
    """Asks for an answer as it comes. What is returned yields responses, and has cancel()."""
    message = completion_service_pb2.StreamCompletionRequest(request=request)
    return completions.StreamCompletion(message, metadata=credentials(), **call)


def details(error):
    """The typed details of a failed call, by the name of their message."""
    found = {}
    for key, value in error.trailing_metadata() or ():
        if key != "grpc-status-details-bin":
            continue
        for packed in status_pb2.Status.FromString(value).details:
            for kind in DETAIL_TYPES:
                message = kind()
                if packed.Unpack(message):
                    found[kind.DESCRIPTOR.name] = message
    return found


def main(target):
    with grpc.insecure_channel(target) as channel:
        completions = completion_service_pb2_grpc.CompletionServiceStub(channel)

        answer = complete(completions, question("Hello!"), timeout=30)
        print(f"{answer.completion.provider} ({answer.completion.model}): {answer.output_text}")
        print(f"{answer.completion.usage.total_tokens} tokens")

        for response in stream(completions, question("Tell me a story"), timeout=60):
            event = response.event
            if event.WhichOneof("event") == "text_delta":
                print(event.text_delta.text, end="", flush=True)
            elif event.WhichOneof("event") == "finished":
                print(f"\n{event.finished.usage.total_tokens} tokens")

        try:
            complete(completions, question("Hello!", model="no-such-model"), timeout=30)
        except grpc.RpcError as error:
            print(f"{error.code().name}: {error.details()} ({details(error)['ErrorInfo'].reason})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
