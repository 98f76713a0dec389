"""Messages that no consumer could take, as the operator sees them, and how full the streams are."""
