"""TwiML: reading documents strictly, and running their verbs against a call."""
