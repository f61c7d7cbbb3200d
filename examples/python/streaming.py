"""Prints an answer as it comes. Needs httpx."""

import asyncio
import json
import os

import httpx


async def main():
    gateway_url = os.environ.get("GATEWAY_URL", "http://localhost:8080")
    async with httpx.AsyncClient() as client:
        async with client.stream(
            "POST",
            f"{gateway_url}/completion",
            json={
                "messages": [{"role": "user", "content": "Tell me a story"}],
                "stream": True
            }
        ) as response:
            async for chunk in response.aiter_text():
                if chunk.startswith("data: "):
                    data = json.loads(chunk[6:])
                    print(data.get("content", ""), end="", flush=True)
    print()


asyncio.run(main())
