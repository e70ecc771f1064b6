"""The gate: may this policy ship?"""
