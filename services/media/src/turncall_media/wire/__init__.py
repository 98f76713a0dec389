"""The dialects that carriers speak on a media socket; one dialect, one file."""
