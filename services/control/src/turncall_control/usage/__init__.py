"""What calls used of each vendor, and what that costs by the operator's prices."""
