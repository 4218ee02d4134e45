"""One job of creates in shards, which workers share: the plan, one shard in a worker, and the whole job.

It knows no queue. `taskiq`, `dask` and the command line bring one each.
"""
