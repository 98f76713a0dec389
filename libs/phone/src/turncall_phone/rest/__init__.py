"""The REST face: Twilio's 2010-04-01 API, as far as calls and phone numbers go."""
