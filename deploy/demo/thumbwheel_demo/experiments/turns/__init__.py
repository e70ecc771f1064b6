"""Many unattended turns of the wheel: did satisfaction or diversity ever fall from one version to the next?"""
