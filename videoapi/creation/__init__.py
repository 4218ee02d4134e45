"""Creating a room at most once: references, lookups, proof of absence, the journal of a job.

Independent of bulk runs and HTTP.
"""
