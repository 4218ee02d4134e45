"""How fast the client is, against a loop written by hand and the clients of others: `make bench`."""
