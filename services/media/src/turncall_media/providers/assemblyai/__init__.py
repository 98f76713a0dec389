"""AssemblyAI."""
