"""Numbers that a project's agents do not call: kept by hand or by the person who asks, looked at before each dial."""
