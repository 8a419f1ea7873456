"""The operators' console: pages for people with a passkey. It shows, and carries what they signed."""
