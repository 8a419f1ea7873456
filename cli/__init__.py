"""The quorumkeep command: builds requests, prints results, runs the demo."""
