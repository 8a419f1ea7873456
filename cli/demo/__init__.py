"""One command that shows the whole road from request to settled transaction."""
