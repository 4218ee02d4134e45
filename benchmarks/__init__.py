"""Measurements; each folder has a command of its own in the Makefile."""
