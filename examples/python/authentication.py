"""Calls a gateway that wants a key, such as one started with GATEWAY_API_KEYS=me:default:your-token-here. Needs httpx."""

import asyncio
import os

import httpx


async def main():
    gateway_url = os.environ.get("GATEWAY_URL", "http://localhost:8080")
    request_data = {"messages": [{"role": "user", "content": "Hello!"}]}
    async with httpx.AsyncClient(base_url=gateway_url) as client:
        headers = {"Authorization": "Bearer your-token-here"}
        response = await client.post("/completion", json=request_data, headers=headers)
        print(response.status_code, response.json())


asyncio.run(main())
