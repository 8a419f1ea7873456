"""What every test shares: hypothesis without deadlines, because two cores serve several processes.

Hundreds of processes import the same files: where bytecode is not kept, each compiles all of them once more.
"""

import os
import sys

from hypothesis import settings

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
settings.register_profile("house", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("house")
