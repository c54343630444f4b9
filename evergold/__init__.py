"""Evergold keeps golden images and the session hosts made from them evergreen."""
