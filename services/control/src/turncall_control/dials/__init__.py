"""Calls that users ask for: kept until they may be dialled, asked of the carrier once, looked after until answered."""
