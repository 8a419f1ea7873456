"""What every test shares: hypothesis without deadlines, because two cores serve several processes."""

from hypothesis import settings

settings.register_profile("house", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("house")
