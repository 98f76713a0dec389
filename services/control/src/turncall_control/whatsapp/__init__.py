"""Calls over WhatsApp: taken to a worker with their sound, and ended as WhatsApp tells."""
