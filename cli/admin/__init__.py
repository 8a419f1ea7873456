"""What administrators draw up, sign and hand in: policies, rosters, vetoes, freezes, versions, forks."""
