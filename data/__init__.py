"""Loaders of the data sets, the downloader and the synthetic stand-ins."""
