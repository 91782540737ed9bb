"""The two facades: Queue, and AsyncQueue for asyncio."""
