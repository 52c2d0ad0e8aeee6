"""How running engines are talked to: pool, health, routing, journal, gateway, probe, and a client of the service.

Everything is imported from its own module: a program that needs one part, such as `clients.service`, loads no other.
"""
