"""The REST service: routes over the store and the service."""
