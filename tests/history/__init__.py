"""The judge of creates: what clients believe, held against what the service did."""
