"""What policies of creating, and the clients of others, make of a failed create: `make bench-create`."""
