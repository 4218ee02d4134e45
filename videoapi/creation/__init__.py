"""Creating a room at most once: references, look-ups, proof of absence, the journal of a job.

Knows no bulk runs and no HTTP.
"""
