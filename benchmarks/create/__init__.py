"""How create policies and other vendors' clients handle a failed create: `make bench-create`."""
