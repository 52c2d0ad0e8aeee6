"""How running engines are talked to: pool, health, routing, journal, gateway, probe."""
