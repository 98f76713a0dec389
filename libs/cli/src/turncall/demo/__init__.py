"""The demonstration: a dentist's receptionist, the desk that keeps her appointments, and a caller."""
