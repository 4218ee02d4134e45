"""The request pipeline: middleware, retries, account state and errors.

Independent of aiohttp and of rooms: it receives the function that sends one attempt.
"""
