"""The service: it queues jobs, places them, shows them, and never owns what a runner owns."""
