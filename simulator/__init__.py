"""An Azure to run on a laptop: ARM, Azure Virtual Desktop, Log Analytics and Entra tokens, over HTTPS.

It is a small deterministic world, not a mock: hosts take time to boot and join, people sign in and out, replication takes an
hour, logs arrive late. It shares no code with the product, so that one cannot hide the other's mistake: they meet on the wire.
"""
