"""The coordinator: builds, orders and broadcasts; holds no share and has no authority."""
