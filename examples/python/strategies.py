"""Lets the gateway choose a provider: by latency, then by cost. Needs httpx."""

import asyncio
import os

import httpx


async def main():
    gateway_url = os.environ.get("GATEWAY_URL", "http://localhost:8080")
    async with httpx.AsyncClient(base_url=gateway_url) as client:
        # Least latency routing
        response = await client.post("/completion", json={
            "messages": [{"role": "user", "content": "Hello!"}],
            "routing_strategy": "least_latency",
            "fallback": True
        })
        print(response.status_code, response.json())

        # Cost optimization
        response = await client.post("/completion", json={
            "messages": [{"role": "user", "content": "Complex task"}],
            "routing_strategy": "lowest_cost",
            "provider": "groq"  # Preferred, but will fallback
        })
        print(response.status_code, response.json())


asyncio.run(main())
