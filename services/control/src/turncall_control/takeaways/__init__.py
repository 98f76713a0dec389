"""What is taken out of conversations, defined once for all agents of a project."""
