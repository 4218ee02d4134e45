"""The checker of creates: compares what clients report with what the service executed."""
