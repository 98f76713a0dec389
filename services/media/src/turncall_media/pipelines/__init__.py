"""An agent's definition made into a running conversation."""
