"""nilearn's own fixtures, for nilearn's own tests."""

from nilearn.conftest import *  # noqa: F403
