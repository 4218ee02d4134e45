"""Benchmarks; each directory has its own target in the Makefile."""
