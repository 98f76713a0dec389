"""HeyGen: avatars, by its LiveAvatar API."""
