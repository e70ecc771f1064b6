"""Policy versions: which one answers, which are there to be pinned, how a new one comes in and an old one leaves."""
