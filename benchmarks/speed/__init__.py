"""The client's speed, compared with a handwritten loop and other vendors' clients: `make bench`."""
