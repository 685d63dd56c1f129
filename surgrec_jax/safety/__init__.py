"""Safety of users and their files: errors they can mend, bounded readers, whole files."""
