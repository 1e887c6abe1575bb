"""Settings of Hypothesis for tests whose examples share a fixture of the test."""

from __future__ import annotations

from typing import Any

import hypothesis


def with_shared_fixtures(**options: Any) -> hypothesis.settings:
    """Return settings with these options. Each example leaves the fixtures as others need them."""
    profile = hypothesis.settings()
    checks = [*profile.suppress_health_check, hypothesis.HealthCheck.function_scoped_fixture]
    return hypothesis.settings(profile, suppress_health_check=checks, **options)
