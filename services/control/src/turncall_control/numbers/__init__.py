"""Phone numbers: bound to an agent here, pointed at us at the carrier."""
