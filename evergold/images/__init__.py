"""Images: version numbers, the steps of a build, what is in an image, and what becomes of a candidate."""
