"""One call made of attempts: middleware, retries, the state of an account, errors.

Is handed the function that sends an attempt; knows no aiohttp and no rooms.
"""
