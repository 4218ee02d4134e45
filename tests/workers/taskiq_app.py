"""The broker of the judge's workers: `taskiq worker workers.taskiq_app:broker`."""

from workers.settings import REDELIVERY, worker_client

from videoapi.taskiq import rooms_broker

broker = rooms_broker(client=worker_client, redelivery=REDELIVERY)
