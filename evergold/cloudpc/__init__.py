"""Windows 365: an image set's image as the image of Cloud PCs, and Cloud PCs reprovisioned with it without anyone losing work."""
