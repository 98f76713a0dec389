"""The carrier emulator: Twilio's REST, TwiML, webhooks and Media Streams as a local peer."""
