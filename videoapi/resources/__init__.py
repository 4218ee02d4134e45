"""The namespaces of the client: arguments in, checked requests out, models back."""
