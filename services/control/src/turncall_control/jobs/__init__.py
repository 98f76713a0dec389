"""Work that the media plane's pool ``text`` does for control: what is due, what was sent, what came of it."""
