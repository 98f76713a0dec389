"""What the pool ``text`` does: a file for each kind of job, named like the job's tag."""
