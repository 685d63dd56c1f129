"""What keeps users and their files safe: errors they can mend, bounded readers, whole files."""
