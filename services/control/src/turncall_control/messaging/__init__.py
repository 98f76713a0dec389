"""Messages of phones: those that come find their session, those that users ask for find their contact."""
