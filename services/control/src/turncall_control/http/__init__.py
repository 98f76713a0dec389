"""What every route shares: strict bodies, one error shape, the guard, pages, request ids, the access log."""
