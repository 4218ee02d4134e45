"""The objects of the contract, frozen, and the two ways from bytes to them."""
