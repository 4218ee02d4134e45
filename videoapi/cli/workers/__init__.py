"""`rooms create-many --workers`: worker processes of the command, which share its job through leases in Redis."""
