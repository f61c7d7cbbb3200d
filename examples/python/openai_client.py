"""Talks to the gateway with OpenAI's own Python SDK: only the base URL is different.

    pip install -r examples/python/requirements.txt
    python examples/python/openai_client.py http://localhost:8080

GATEWAY_API_KEY holds the key, where the gateway wants one.
"""

import os
import sys

import openai


def connect(gateway_url, **options):
    """A client of the gateway. The SDK insists on a key even where the gateway does not."""
    options.setdefault("api_key", os.environ.get("GATEWAY_API_KEY") or "none")
    return openai.OpenAI(base_url=f"{gateway_url}/v1", **options)


def main(gateway_url):
    client = connect(gateway_url)
    print("models:", ", ".join(model.id for model in client.models.list()))

    messages = [{"role": "user", "content": "Hello!"}]
    answer = client.chat.completions.create(model="auto", messages=messages)
    print(f"{answer.model}: {answer.choices[0].message.content}")

    # `provider` is one of the gateway's own fields; the others are routing_strategy, fallback and timeout.
    chunks = client.chat.completions.create(
        model="auto",
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"routing_strategy": "least_latency"},
    )
    for chunk in chunks:
        for choice in chunk.choices:
            print(choice.delta.content or "", end="", flush=True)
        if chunk.usage:
            print(f"\n{chunk.usage.total_tokens} tokens")

    try:
        client.chat.completions.create(model="no-such-model", messages=messages)
    except openai.NotFoundError as error:
        print(f"{error.status_code} {error.code}: {error.body['message']} (request {error.request_id})")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8080")
