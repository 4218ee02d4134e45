"""What several processes share through Redis, with redis-py, which the extra `videoapi[redis]` installs.

It knows neither HTTP nor retries, and is imported when it is used.
"""
