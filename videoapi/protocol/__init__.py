"""Pure decisions: no event loop, no clock, no dice, no sockets."""
